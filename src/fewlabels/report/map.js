// The map: what its parts do together, and the buttons around it.

const AROUND = 24; // images that Enter opens

function makeMap(pictures, sheets, opened) {
  const canvas = document.getElementById("canvas");
  const view = makeView();
  const index = makeIndex(pictures.x, pictures.y);
  const painter = makePainter(canvas, pictures, view, index, sheets);
  const hover = makeHover(pictures, view, sheets);
  const lassoButton = document.getElementById("lasso");
  let by = document.querySelector("#colour-by input:checked").value; // a reload keeps the choice
  let group = -1;

  const map = {
    pictures,
    view,
    index,
    painter,
    pointed: -1,
    point(i, aloud = false) {
      map.pointed = i;
      hover.show(i, aloud);
      painter.tell({ pointed: i });
    },
    move(across, down) {
      view.move(across, down);
      moved();
    },
    zoom(factor, x, y) {
      view.zoom(factor, x, y);
      moved();
    },
    showAll() {
      view.fit();
      moved();
    },
    drawLasso: (corners) => painter.tell({ lasso: corners }),
    lassoIsOn: () => lassoButton.getAttribute("aria-pressed") === "true",
    choose(images, title = "Rounded up", note = "images inside the lasso.") {
      painter.tell({ chosen: images });
      if (!images.length) {
        document.getElementById("map-said").textContent = "There is no image in there.";
        return;
      }
      const counted = images.length.toLocaleString("en");
      opened.open(title, `${counted} ${note}`, images);
    },
    openView() {
      const box = [view.toX(0), view.toY(0), view.toX(view.width), view.toY(view.height)];
      map.choose(index.inBox(...box), "In view", "images in view.");
    },
    openAround() {
      if (map.pointed < 0) return;
      const [x, y] = [pictures.x[map.pointed], pictures.y[map.pointed]];
      const distance = (i) => (pictures.x[i] - x) ** 2 + (pictures.y[i] - y) ** 2;
      let reach = 0.01;
      let near = [];
      while (near.length < Math.min(AROUND, pictures.mapped) && reach < 2) {
        near = index.inBox(x - reach, y - reach, x + reach, y + reach);
        reach *= 1.6;
      }
      near.sort((a, b) => distance(a) - distance(b));
      map.choose(near.slice(0, AROUND), "Side by side", "images that lie nearest, the nearest first.");
    },
    forget() {
      painter.tell({ chosen: [] });
      map.point(-1);
    },
  };

  function moved() {
    if (map.pointed >= 0) hover.show(map.pointed);
    painter.paintSoon();
  }

  const legend = makeLegend((chosen) => recolour(by, chosen));

  function recolour(newBy, newGroup) {
    [by, group] = [newBy, newGroup];
    legend.renew(painter.colour(by, group), group);
    painter.paintSoon();
  }

  map.colourBy = (newBy) => recolour(newBy, -1);
  for (const input of document.querySelectorAll("#colour-by input")) {
    input.addEventListener("change", () => map.colourBy(input.value));
  }
  const pressed = { "zoom-in": () => map.zoom(1.6, view.width / 2, view.height / 2) };
  pressed["zoom-out"] = () => map.zoom(1 / 1.6, view.width / 2, view.height / 2);
  pressed["zoom-all"] = map.showAll;
  pressed["list-view"] = map.openView;
  pressed.lasso = () => {
    lassoButton.setAttribute("aria-pressed", String(!map.lassoIsOn()));
    canvas.classList.toggle("drawing", map.lassoIsOn());
  };
  for (const [id, act] of Object.entries(pressed)) document.getElementById(id).addEventListener("click", act);

  painter.resize();
  view.fit();
  recolour(by, -1);
  usePointer(canvas, map);
  useKeyboard(canvas, map);
  new ResizeObserver(() => {
    painter.resize();
    moved();
    painter.paint(); // at once: a canvas of another size is empty
  }).observe(canvas);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => recolour(by, group));
  painter.paint();
  return map;
}
