// The map by keyboard: arrows go from image to image, with shift they move the map.

const STEP = 60; // pixels that the map moves
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function useKeyboard(canvas, map) {
  const { pictures, view, index } = map;

  function go([across, down]) {
    let next;
    if (map.pointed < 0) next = index.nearest(view.toX(view.width / 2), view.toY(view.height / 2), 2);
    else next = index.nextInDirection(map.pointed, across, down);
    if (next < 0) return;
    view.show(pictures.x[next], pictures.y[next]);
    map.point(next, true);
  }

  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return; // the browser's own
    const arrow = ARROWS[event.key];
    const [middleX, middleY] = [view.width / 2, view.height / 2];
    if (arrow && event.shiftKey) map.move(-arrow[0] * STEP, -arrow[1] * STEP);
    else if (arrow) go(arrow);
    else if (event.key === "+" || event.key === "=") map.zoom(1.4, middleX, middleY);
    else if (event.key === "-") map.zoom(1 / 1.4, middleX, middleY);
    else if (event.key === "0") map.showAll();
    else if (event.key === "Enter") map.openAround();
    else if (event.key === "l") map.openView();
    else if (event.key === "Escape") map.forget();
    else return;
    event.preventDefault();
  });
}
