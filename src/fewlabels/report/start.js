// The beginning: what stands in the page is read, and the buttons and the map come to life.

const given = JSON.parse(document.getElementById("pictures").textContent);
const pictures = readPictures(given);
const sheets = makeSheets(pictures, document.querySelectorAll("script.thumbnails"));
const opened = makeOpened(pictures, sheets);
openFromMatrix(pictures, opened);
const map = pictures.mapped ? makeMap(pictures, sheets, opened) : null;
performance.mark("interactive");
requestAnimationFrame(() => requestAnimationFrame(() => performance.mark("drawn")));
unpackNames(pictures, given.names).then(() => performance.mark("named"));
window.fewlabels = { pictures, map }; // for the browser's console, and for tests
