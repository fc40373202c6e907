// Colours and shapes. A class has both: seven colours that colour-blind eyes tell apart (Okabe and
// Ito 2008, without the yellow that white paper swallows) and five shapes, 35 before one returns.

const N_COLOURS = 7;
const N_SHAPES = 5; // circle, square, triangle, diamond, cross

// Cividis (Nunez, Anderton and Renslow 2018): even steps of lightness, seen alike by all eyes.
const CIVIDIS = ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838"];

function themeColours() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(name).trim();
  const classes = [];
  for (let i = 0; i < N_COLOURS; i++) classes.push(of(`--c${i}`));
  return { classes, dim: of("--dim"), none: of("--none"), text: of("--text"), paper: of("--map"), strong: of("--strong") };
}

// "#rrggbb" -> a pixel of an ImageData seen as 32-bit whole numbers (little-endian: ABGR).
function asPixel(colour) {
  const number = parseInt(colour.slice(1), 16);
  return (0xff000000 | ((number & 0xff) << 16) | (number & 0xff00) | (number >> 16)) >>> 0;
}

function tracePath(context, shape, x, y, r) {
  context.beginPath();
  if (shape === 0) context.arc(x, y, r, 0, 2 * Math.PI);
  else if (shape === 1) context.rect(x - 0.86 * r, y - 0.86 * r, 1.72 * r, 1.72 * r);
  else if (shape === 2) polygon(context, x, y, [[0, -1.2], [1.1, 0.8], [-1.1, 0.8]], r);
  else if (shape === 3) polygon(context, x, y, [[0, -1.25], [1.05, 0], [0, 1.25], [-1.05, 0]], r);
  else {
    const a = 0.4;
    const b = 1.1;
    polygon(context, x, y, [[-a, -b], [a, -b], [a, -a], [b, -a], [b, a], [a, a], [a, b], [-a, b], [-a, a], [-b, a], [-b, -a], [-a, -a]], r);
  }
}

function polygon(context, x, y, corners, r) {
  corners.forEach(([across, down], i) => {
    if (i) context.lineTo(x + across * r, y + down * r);
    else context.moveTo(x + across * r, y + down * r);
  });
  context.closePath();
}

// A point of that look with a thin edge of paper, so that points on one another are told apart.
function drawMark(context, look, x, y, r, paper) {
  tracePath(context, look.shape, x, y, r);
  context.fillStyle = look.colour;
  context.fill();
  context.lineWidth = Math.max(1, r / 5);
  context.strokeStyle = paper;
  context.stroke();
}

// Marks that were drawn once, on small canvases: drawing those again is cheaper than the paths.
function makeStamps(r, paper) {
  const stamps = new Map();
  const side = Math.ceil(2 * (1.3 * r + 2));
  return {
    side,
    of(look) {
      const key = `${look.colour} ${look.shape}`;
      let stamp = stamps.get(key);
      if (!stamp) {
        stamp = document.createElement("canvas");
        stamp.width = stamp.height = side;
        drawMark(stamp.getContext("2d"), look, side / 2, side / 2, r, paper);
        stamps.set(key, stamp);
      }
      return stamp;
    },
  };
}

// How images are coloured: `group[i]` is an image's entry of `looks`, which also make the legend.
const COLOURINGS = {
  truth: (pictures, theme) => byClass(pictures, pictures.truth, theme, "no label"),
  answer: (pictures, theme) => byClass(pictures, pictures.answer, theme, "no answer"),
  confidence: byConfidence,
  part: byPart,
};

function byClass(pictures, labels, theme, none) {
  const n = pictures.classes.length;
  const looks = pictures.classes.map((name, i) => ({ name, colour: theme.classes[i % N_COLOURS], shape: i % N_SHAPES }));
  looks.push({ name: none, colour: theme.none, shape: 0, isNone: true });
  const group = Uint16Array.from(labels.subarray(0, pictures.mapped), (label) => (label === UNKNOWN ? n : label));
  return { looks, group, isScale: false };
}

function byConfidence(pictures, theme) {
  const looks = CIVIDIS.map((colour, i) => ({ name: `${10 * i} to ${10 * (i + 1)} %`, colour, shape: 0 }));
  const last = looks.length - 1;
  const group = Uint16Array.from(pictures.confidence.subarray(0, pictures.mapped), (level) =>
    Math.min(last, Math.floor((level / LEVELS) * looks.length)),
  );
  return { looks, group, isScale: true };
}

function byPart(pictures, theme) {
  const colours = [theme.classes[1], theme.classes[6], theme.classes[3]];
  const looks = pictures.parts.map((name, i) => ({ name, colour: colours[i], shape: [2, 0, 1][i] }));
  return { looks, group: Uint16Array.from(pictures.part.subarray(0, pictures.mapped)), isScale: false };
}
