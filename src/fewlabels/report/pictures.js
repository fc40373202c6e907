// What the page was given: typed arrays, names, thumbnails. Nothing here draws on the page.

const UNKNOWN = 65535; // a class that is not known
const LEVELS = 65535; // of positions and confidences
const LONGEST_NAME = 48; // characters of a class name

function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

function readPictures(given) {
  const whole = (base64) => new Uint16Array(bytesOf(base64).buffer); // both sides little-endian
  const places = whole(given.positions);
  const x = new Float32Array(given.mapped);
  const y = new Float32Array(given.mapped);
  for (let i = 0; i < given.mapped; i++) {
    x[i] = places[2 * i] / LEVELS;
    y[i] = places[2 * i + 1] / LEVELS;
  }
  return {
    count: given.count,
    mapped: given.mapped,
    classes: given.classes,
    parts: given.parts,
    x, // of the images on the map, in [0, 1]
    y,
    truth: whole(given.truth),
    answer: whole(given.answer),
    confidence: whole(given.confidence),
    part: bytesOf(given.part),
    names: null, // once `unpackNames` is through
    thumbnail: given.thumbnail,
  };
}

// Names take most of the text of a large page, so they are packed; unpacking needs no worker.
async function unpackNames(pictures, base64) {
  const unpacked = new Blob([bytesOf(base64)]).stream().pipeThrough(new DecompressionStream("deflate"));
  pictures.names = (await new Response(unpacked).text()).split("\0");
}

function nameOf(pictures, i) {
  return pictures.names ? pictures.names[i] : `image ${i}`;
}

function className(pictures, label) {
  return label === UNKNOWN ? "none" : shortened(pictures.classes[label]);
}

function shortened(name) {
  return name.length <= LONGEST_NAME ? name : `${name.slice(0, LONGEST_NAME - 1).trimEnd()}…`;
}

function percentOf(pictures, i) {
  return `${Math.round((100 * pictures.confidence[i]) / LEVELS)}\u00a0%`;
}

// All that is known of an image, a line each.
function factsOf(pictures, i) {
  const lines = [nameOf(pictures, i), `label: ${className(pictures, pictures.truth[i])}`];
  if (pictures.answer[i] === UNKNOWN) lines.push("answer: none");
  else lines.push(`answer: ${className(pictures, pictures.answer[i])} (${percentOf(pictures, i)})`);
  lines.push(`part: ${pictures.parts[pictures.part[i]]}`);
  return lines;
}

// Sheets of thumbnails, each decoded when it is first looked at.
function makeSheets(pictures, texts) {
  const { width, height, columns, rows } = pictures.thumbnail;
  const sheets = new Map();

  function sheet(number) {
    let found = sheets.get(number);
    if (!found) {
      const image = new Image();
      found = { image, ready: new Promise((done) => image.addEventListener("load", done)) };
      sheets.set(number, found);
      image.src = `data:image/webp;base64,${texts[number].textContent}`;
    }
    return found;
  }

  // Draws a thumbnail where its sheet is decoded, and says whether it was; else asks for it.
  function draw(context, i, left, top, wide, high, whenReady) {
    const number = Math.floor(i / (columns * rows));
    const place = i % (columns * rows);
    const found = sheet(number);
    if (!found.image.complete || !found.image.naturalWidth) {
      if (whenReady) found.ready.then(whenReady);
      return false;
    }
    const fromX = (place % columns) * width;
    const fromY = Math.floor(place / columns) * height;
    context.drawImage(found.image, fromX, fromY, width, height, left, top, wide, high);
    return true;
  }

  // Fills a canvas element of its own with the thumbnail, now or when it is decoded.
  function fill(canvas, i) {
    canvas.width = width;
    canvas.height = height;
    canvas.dataset.image = i;
    const context = canvas.getContext("2d");
    draw(context, i, 0, 0, width, height, () => {
      if (canvas.dataset.image === String(i)) draw(context, i, 0, 0, width, height);
    });
  }

  return { draw, fill };
}
