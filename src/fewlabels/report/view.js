// Where the map stands on the canvas: places in [0, 1] -> pixels of the canvas, and back.

const MARGIN = 0.06; // of the shorter side, around the whole map
const DEEPEST = 400; // times the whole map

function makeView() {
  const view = { width: 1, height: 1, scale: 1, left: 0, top: 0 };

  const whole = () => (1 - 2 * MARGIN) * Math.min(view.width, view.height);

  view.fit = () => {
    view.scale = whole();
    view.left = (view.width - view.scale) / 2;
    view.top = (view.height - view.scale) / 2;
  };

  // A canvas of another size keeps what was in its middle there.
  view.resize = (width, height) => {
    const zoom = view.scale / whole();
    const x = view.toX(view.width / 2);
    const y = view.toY(view.height / 2);
    view.width = width;
    view.height = height;
    view.scale = zoom * whole();
    view.left = width / 2 - x * view.scale;
    view.top = height / 2 - y * view.scale;
  };

  view.toX = (pixel) => (pixel - view.left) / view.scale;
  view.toY = (pixel) => (pixel - view.top) / view.scale;
  view.screenX = (x) => view.left + x * view.scale;
  view.screenY = (y) => view.top + y * view.scale;

  view.move = (across, down) => {
    view.left += across;
    view.top += down;
    keepInSight();
  };

  // Zooms about a pixel, which keeps showing the same place.
  view.zoom = (factor, screenX, screenY) => {
    const x = view.toX(screenX);
    const y = view.toY(screenY);
    view.scale = Math.min(DEEPEST * whole(), Math.max(0.5 * whole(), view.scale * factor));
    view.left = screenX - x * view.scale;
    view.top = screenY - y * view.scale;
    keepInSight();
  };

  // Brings a place well into the canvas, if it is not there.
  view.show = (x, y) => {
    const edge = 0.15 * Math.min(view.width, view.height);
    view.left += Math.max(0, edge - view.screenX(x)) + Math.min(0, view.width - edge - view.screenX(x));
    view.top += Math.max(0, edge - view.screenY(y)) + Math.min(0, view.height - edge - view.screenY(y));
  };

  // Some of the map's square stays on the canvas, so that nobody gets lost.
  function keepInSight() {
    const rest = 0.2 * Math.min(view.width, view.height);
    view.left = Math.min(view.width - rest, Math.max(rest - view.scale, view.left));
    view.top = Math.min(view.height - rest, Math.max(rest - view.scale, view.top));
  }

  return view;
}
