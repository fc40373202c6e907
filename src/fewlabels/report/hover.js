// The card beside the image that is pointed at: the image, its name, label and answer.

function makeHover(pictures, view, sheets) {
  const card = document.getElementById("hover");
  const [canvas, words] = [card.querySelector("canvas"), card.querySelector("p")];
  const said = document.getElementById("map-said");
  let shown = -1;

  function hide() {
    card.hidden = true;
    shown = -1;
  }

  function place(i) {
    const [x, y] = [view.screenX(pictures.x[i]), view.screenY(pictures.y[i])];
    const [wide, high, gap] = [card.offsetWidth, card.offsetHeight, 14];
    let left = x + gap;
    if (left + wide > view.width) left = x - gap - wide;
    const top = Math.min(view.height - high - 4, Math.max(4, y - high / 2));
    card.style.transform = `translate(${Math.round(Math.max(4, left))}px, ${Math.round(top)}px)`;
  }

  // `aloud` is for those who go by the keyboard and may not see the card.
  function show(i, aloud) {
    if (i < 0) return hide();
    if (i !== shown) {
      shown = i;
      canvas.style.imageRendering = pictures.thumbnail.width < 64 ? "pixelated" : "auto";
      sheets.fill(canvas, i);
      words.textContent = factsOf(pictures, i).join("\n");
    }
    card.hidden = false;
    place(i);
    if (aloud) said.textContent = factsOf(pictures, i).join(", ");
  }

  return { show, hide };
}
