// Draws the map: many images as dots that are written into the picture's memory, fewer as marks
// with shapes, and few enough to be seen as the images themselves.

const MANY = 4000; // images in view from which on they are dots
const RADII = [2.5, 5]; // of marks, in pixels of the page: the smallest, where they are many
const SMALLEST_IMAGE = 18; // pixels: smaller images are not worth drawing
const LARGEST_IMAGE = 72;
const MOST_IMAGES = 1200; // drawn as images

function makePainter(canvas, pictures, view, index, sheets) {
  const context = canvas.getContext("2d");
  let theme = themeColours();
  let density = 1; // pixels of the canvas for one of the page
  let memory = null; // ImageData as large as the canvas
  let radius = RADII[1];
  let stamps = new Map(); // radius -> marks drawn once
  let colouring = null;
  let pixels = null; // a 32-bit colour for each image
  let chosenGroup = -1; // brought out; the others are dim
  let order = null; // dim images and those without a label first, so that they lie below

  const isDim = (i) => chosenGroup >= 0 && colouring.group[i] !== chosenGroup;
  const isBelow = (i) => isDim(i) || colouring.looks[colouring.group[i]].isNone === true;

  function prepare() {
    stamps.clear();
    const palette = Uint32Array.from(colouring.looks, (look) => asPixel(look.colour));
    const dim = asPixel(theme.dim);
    pixels = new Uint32Array(pictures.mapped);
    order = new Uint32Array(pictures.mapped);
    let low = 0;
    let high = pictures.mapped;
    for (let i = pictures.mapped - 1; i >= 0; i--) {
      pixels[i] = isDim(i) ? dim : palette[colouring.group[i]];
      if (isBelow(i)) order[low++] = i;
      else order[--high] = i;
    }
  }

  function resize() {
    density = window.devicePixelRatio || 1;
    const box = canvas.getBoundingClientRect();
    canvas.width = Math.max(1, Math.round(box.width * density));
    canvas.height = Math.max(1, Math.round(box.height * density));
    memory = null;
    view.resize(box.width, box.height);
    if (colouring) prepare();
  }

  function colour(by, group) {
    theme = themeColours();
    colouring = COLOURINGS[by](pictures, theme);
    chosenGroup = group;
    prepare();
    return colouring;
  }

  // A dot is a square of whole pixels, written where it lies.
  function paintDots() {
    const { width, height } = canvas;
    memory = memory || context.createImageData(width, height);
    const out = new Uint32Array(memory.data.buffer);
    out.fill(0);
    const { x, y } = pictures;
    const scale = view.scale * density;
    const left = view.left * density;
    const top = view.top * density;
    const side = Math.max(2, Math.round(2 * density * Math.min(1.5, Math.max(1, view.scale / 900))));
    const half = side >> 1;
    for (let k = 0; k < order.length; k++) {
      const i = order[k];
      const px = (left + x[i] * scale - half) | 0;
      const py = (top + y[i] * scale - half) | 0;
      if (px < 0 || py < 0 || px + side > width || py + side > height) continue;
      const value = pixels[i];
      for (let row = py * width + px, end = row + side * width; row < end; row += width) {
        for (let k = row; k < row + side; k++) out[k] = value;
      }
    }
    context.putImageData(memory, 0, 0);
  }

  function inView(margin) {
    const edge = margin / view.scale;
    return [view.toX(0) - edge, view.toY(0) - edge, view.toX(view.width) + edge, view.toY(view.height) + edge];
  }

  function paintMarks(visible) {
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!stamps.has(radius)) stamps.set(radius, makeStamps(radius * density, theme.paper));
    const marks = stamps.get(radius);
    const half = marks.side / 2;
    const dimLook = { colour: theme.dim, shape: 0 };
    for (const below of [true, false]) {
      for (const i of visible) {
        if (isBelow(i) !== below) continue;
        const stamp = marks.of(isDim(i) ? dimLook : colouring.looks[colouring.group[i]]);
        context.drawImage(stamp, Math.round(view.screenX(pictures.x[i]) * density - half), Math.round(view.screenY(pictures.y[i]) * density - half));
      }
    }
  }

  // Each image in a frame of its colour; where the thumbnail is not there yet, its mark.
  function paintImages(visible, side) {
    context.clearRect(0, 0, canvas.width, canvas.height);
    const { width, height } = pictures.thumbnail;
    const factor = (side * density) / Math.max(width, height);
    const wide = width * factor;
    const high = height * factor;
    const frame = Math.max(1.5, side / 18) * density;
    context.imageSmoothingEnabled = factor < 1;
    for (const i of visible) {
      const cx = view.screenX(pictures.x[i]) * density;
      const cy = view.screenY(pictures.y[i]) * density;
      const look = colouring.looks[colouring.group[i]];
      context.globalAlpha = isDim(i) ? 0.2 : 1;
      context.fillStyle = look.colour;
      context.fillRect(cx - wide / 2 - frame, cy - high / 2 - frame, wide + 2 * frame, high + 2 * frame);
      sheets.draw(context, i, cx - wide / 2, cy - high / 2, wide, high, paintSoon);
      const r = Math.min(radius, side / 6) * density;
      drawMark(context, look, cx - wide / 2 + r, cy - high / 2 + r, r, theme.paper);
    }
    context.globalAlpha = 1;
  }

  function ring(i, radius, colour) {
    context.beginPath();
    context.arc(view.screenX(pictures.x[i]) * density, view.screenY(pictures.y[i]) * density, radius * density, 0, 2 * Math.PI);
    context.lineWidth = 4 * density;
    context.strokeStyle = theme.paper;
    context.stroke();
    context.lineWidth = 2 * density;
    context.strokeStyle = colour;
    context.stroke();
  }

  function lassoLine(corners) {
    context.beginPath();
    corners.forEach(([x, y], i) => {
      if (i) context.lineTo(view.screenX(x) * density, view.screenY(y) * density);
      else context.moveTo(view.screenX(x) * density, view.screenY(y) * density);
    });
    context.closePath();
    context.globalAlpha = 0.15;
    context.fillStyle = theme.strong;
    context.fill();
    context.globalAlpha = 1;
    context.lineWidth = 2 * density;
    context.strokeStyle = theme.strong;
    context.stroke();
  }

  let state = { chosen: [], pointed: -1, lasso: [] };
  let asked = false;

  function paint() {
    asked = false;
    const box = inView(LARGEST_IMAGE);
    const n = index.count(...box);
    const apart = Math.sqrt((view.width * view.height) / Math.max(1, n)); // if they were even
    const side = Math.min(LARGEST_IMAGE, 0.62 * apart);
    radius = Math.min(RADII[1], Math.max(RADII[0], Math.round(0.44 * apart) / 2));
    if (n > MANY) paintDots();
    else {
      const visible = index.inBox(...box);
      if (n <= MOST_IMAGES && side >= SMALLEST_IMAGE) paintImages(visible, side);
      else paintMarks(visible);
    }
    if (state.chosen.length <= MANY) for (const i of state.chosen) ring(i, radius + 2, theme.text);
    if (state.pointed >= 0) ring(state.pointed, radius + 5, theme.strong);
    if (state.lasso.length > 1) lassoLine(state.lasso);
  }

  // However often it is asked, it paints once for each picture that the screen shows.
  function paintSoon() {
    if (asked) return;
    asked = true;
    requestAnimationFrame(paint);
  }

  return {
    resize,
    colour,
    paint,
    paintSoon,
    tell(facts) {
      state = { ...state, ...facts };
      paintSoon();
    },
    get chosen() {
      return state.chosen;
    },
  };
}
