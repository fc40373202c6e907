// What colours and shapes mean: a button for each, which brings its images out.

function makeLegend(onChoice) {
  const place = document.getElementById("legend");

  function swatch(look) {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 32;
    drawMark(canvas.getContext("2d"), look, 16, 16, 11, "transparent");
    return canvas;
  }

  function text(name, words) {
    const part = document.createElement("span");
    part.className = name;
    part.textContent = words;
    return part;
  }

  function scaleBar(looks) {
    const bar = document.createElement("div");
    bar.className = "scale-bar";
    const canvas = document.createElement("canvas");
    canvas.width = looks.length;
    canvas.height = 1;
    const context = canvas.getContext("2d");
    looks.forEach((look, i) => {
      context.fillStyle = look.colour;
      context.fillRect(i, 0, 1, 1);
    });
    bar.append(text("", "0 %"), canvas, text("", "100 % sure"));
    return bar;
  }

  function show(colouring, chosenGroup) {
    const counts = new Array(colouring.looks.length).fill(0);
    for (const group of colouring.group) counts[group]++;
    place.replaceChildren();
    if (colouring.isScale) place.append(scaleBar(colouring.looks));
    colouring.looks.forEach((look, group) => {
      if (!counts[group]) return;
      const button = document.createElement("button");
      button.type = "button";
      button.title = look.name;
      button.setAttribute("aria-pressed", String(group === chosenGroup));
      button.append(swatch(look), text("name", look.name), text("count", counts[group].toLocaleString("en")));
      button.addEventListener("click", () => onChoice(group === chosenGroup ? -1 : group));
      place.append(button);
    });
  }

  // The buttons are made anew; who pressed one by the keyboard stays on it.
  function renew(colouring, chosenGroup) {
    const at = [...place.querySelectorAll("button")].indexOf(document.activeElement);
    show(colouring, chosenGroup);
    if (at >= 0) place.querySelectorAll("button")[at]?.focus();
  }

  return { renew };
}
