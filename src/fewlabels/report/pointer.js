// The map by mouse, pen and fingers: drag moves it, wheel and pinch zoom, the lasso rounds up images.

const REACH = 14; // pixels from an image at which it is pointed at
const CORNER_EVERY = 4; // pixels between corners of the lasso
const A_TAP = 6; // pixels that a finger may slip in a tap

function usePointer(canvas, map) {
  const { view, index } = map;
  const down = new Map(); // pointer -> where it is
  let lasso = null;
  let travelled = 0;

  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };

  const imageAt = ([x, y]) => index.nearest(view.toX(x), view.toY(y), REACH / view.scale);

  function extendLasso([x, y]) {
    const corner = [view.toX(x), view.toY(y)];
    const last = lasso[lasso.length - 1];
    if (last && Math.hypot(corner[0] - last[0], corner[1] - last[1]) * view.scale < CORNER_EVERY) return;
    lasso.push(corner);
    map.drawLasso(lasso);
  }

  function pinch(before, after) {
    const spread = ([a, b]) => Math.max(1, Math.hypot(a[0] - b[0], a[1] - b[1]));
    const middle = ([a, b]) => [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
    const [from, to] = [middle(before), middle(after)];
    map.move(to[0] - from[0], to[1] - from[1]);
    map.zoom(spread(after) / spread(before), ...to);
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    down.set(event.pointerId, at(event));
    travelled = 0;
    if (down.size === 1 && (map.lassoIsOn() || event.shiftKey)) {
      lasso = [];
      extendLasso(at(event));
    } else if (lasso) endLasso(false);
  });

  canvas.addEventListener("pointermove", (event) => {
    const now = at(event);
    const before = down.get(event.pointerId);
    if (!before) {
      if (event.pointerType !== "touch") map.point(imageAt(now));
      return;
    }
    travelled += Math.hypot(now[0] - before[0], now[1] - before[1]);
    if (lasso) extendLasso(now);
    else if (down.size === 1) map.move(now[0] - before[0], now[1] - before[1]);
    else if (down.size === 2) {
      const both = [...down.values()];
      const moved = [...down.keys()].map((id) => (id === event.pointerId ? now : down.get(id)));
      pinch(both, moved);
    }
    down.set(event.pointerId, now);
  });

  function endLasso(isDone) {
    const corners = lasso;
    lasso = null;
    map.drawLasso([]);
    if (isDone && corners.length > 2) map.choose(index.inside(corners));
  }

  canvas.addEventListener("pointerup", (event) => {
    if (!down.delete(event.pointerId)) return;
    if (lasso) endLasso(true);
    else if (travelled < A_TAP) map.point(imageAt(at(event)));
  });

  canvas.addEventListener("pointercancel", (event) => {
    down.delete(event.pointerId);
    if (lasso) endLasso(false);
  });

  canvas.addEventListener("pointerleave", (event) => {
    if (!down.size && event.pointerType !== "touch") map.point(-1);
  });

  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 20 : 1;
      map.zoom(Math.exp(-0.0015 * lines * event.deltaY), ...at(event));
    },
    { passive: false },
  );
}
