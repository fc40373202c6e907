// The dialog that shows some images large enough to see, and their names to copy or save.

const SHOWN_AT_ONCE = 120;
const NAMES_SHOWN = 2000; // a text of a hundred thousand lines takes seconds to lay out

function makeOpened(pictures, sheets) {
  const part = (name) => document.getElementById(`opened${name}`);
  const dialog = part("");
  const list = part("-images");
  let images = [];
  let nShown = 0;
  let files = ""; // all names, as they are copied and saved

  function caption(i) {
    const text = document.createElement("span");
    const { truth, answer } = pictures;
    const said = answer[i] === UNKNOWN ? "no answer" : `${className(pictures, answer[i])} (${percentOf(pictures, i)})`;
    text.textContent = truth[i] === UNKNOWN ? `${said}?` : `${className(pictures, truth[i])}, answered ${said}`;
    return text;
  }

  function showMore() {
    const more = images.slice(nShown, nShown + SHOWN_AT_ONCE);
    for (const i of more) {
      const item = document.createElement("li");
      const canvas = document.createElement("canvas");
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", factsOf(pictures, i).join(", "));
      item.title = nameOf(pictures, i);
      sheets.fill(canvas, i);
      item.append(canvas, caption(i));
      list.append(item);
    }
    nShown += more.length;
    part("-more").hidden = nShown >= images.length;
  }

  // Opens with these images; `note` is a sentence about them.
  function open(title, note, wanted) {
    images = wanted;
    nShown = 0;
    list.replaceChildren();
    part("-title").textContent = title;
    part("-note").textContent = note;
    part("-said").textContent = "";
    files = images.map((i) => nameOf(pictures, i)).join("\n");
    showNames();
    showMore();
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
  }

  function showNames() {
    const more = images.length - NAMES_SHOWN;
    const first = images.slice(0, NAMES_SHOWN).map((i) => nameOf(pictures, i));
    if (more > 0) first.push(`... and ${more.toLocaleString("en")} more, which are copied and saved too`);
    part("-files").value = first.join("\n");
  }

  async function copy() {
    try {
      await navigator.clipboard.writeText(files);
    } catch {
      // a page from a disk may not be let at the clipboard in the new way
      part("-files").value = files;
      part("-files").select();
      if (!document.execCommand("copy")) {
        part("-said").textContent = "The browser does not let the page copy: the names are selected, press Ctrl+C.";
        return;
      }
      showNames();
    }
    part("-said").textContent = `${images.length.toLocaleString("en")} names copied.`;
  }

  function save() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([`${files}\n`], { type: "text/plain" }));
    link.download = "files.txt";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    part("-said").textContent = "Saved as files.txt.";
  }

  part("-close").addEventListener("click", () => dialog.close());
  part("-more").addEventListener("click", showMore);
  part("-copy").addEventListener("click", copy);
  part("-save").addEventListener("click", save);
  return { open };
}

// The cells of the confusion matrix open the test images behind them.
function openFromMatrix(pictures, opened) {
  const test = pictures.parts.indexOf("test");
  for (const button of document.querySelectorAll("button.cell")) {
    button.addEventListener("click", () => {
      const truth = Number(button.dataset.truth);
      const answer = Number(button.dataset.answer);
      const count = Number(button.dataset.count);
      const images = [];
      for (let i = 0; i < pictures.count; i++) {
        if (pictures.part[i] === test && pictures.truth[i] === truth && pictures.answer[i] === answer) images.push(i);
      }
      images.sort((a, b) => pictures.confidence[b] - pictures.confidence[a]);
      const names = [className(pictures, truth), className(pictures, answer)];
      const title = truth === answer ? `${names[0]}, answered rightly` : `${names[0]} taken for ${names[1]}`;
      const some = images.length < count ? `: those whose pictures lie in this page` : "";
      opened.open(title, `${images.length} of ${count.toLocaleString("en")} test images${some}, the most confident first.`, images);
    });
  }
}
