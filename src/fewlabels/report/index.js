// Which images lie where: a grid of cells over the square, each with the numbers of its images.

function makeIndex(x, y) {
  const n = x.length;
  const cells = Math.max(1, Math.min(512, Math.round(Math.sqrt(n / 4)))); // a side; about 4 in a cell
  const cellOf = (value) => Math.max(0, Math.min(cells - 1, Math.floor(value * cells)));
  const starts = new Uint32Array(cells * cells + 1);
  for (let i = 0; i < n; i++) starts[cellOf(y[i]) * cells + cellOf(x[i]) + 1]++;
  for (let c = 0; c < cells * cells; c++) starts[c + 1] += starts[c];
  const items = new Uint32Array(n);
  const next = starts.slice(0, -1);
  for (let i = 0; i < n; i++) items[next[cellOf(y[i]) * cells + cellOf(x[i])]++] = i;

  // Calls `visit(i)` for every image in the cells that a box touches: all inside, some around.
  function around(left, top, right, bottom, visit) {
    if (right < 0 || bottom < 0 || left > 1 || top > 1) return;
    for (let row = cellOf(top); row <= cellOf(bottom); row++) {
      const first = starts[row * cells + cellOf(left)];
      const last = starts[row * cells + cellOf(right) + 1];
      for (let k = first; k < last; k++) visit(items[k]);
    }
  }

  // How many images lie in the cells that a box touches.
  function count(left, top, right, bottom) {
    if (right < 0 || bottom < 0 || left > 1 || top > 1) return 0;
    let total = 0;
    for (let row = cellOf(top); row <= cellOf(bottom); row++) {
      total += starts[row * cells + cellOf(right) + 1] - starts[row * cells + cellOf(left)];
    }
    return total;
  }

  // The image nearest to a place, at most `reach` away; -1 where there is none.
  function nearest(px, py, reach) {
    let found = -1;
    let best = reach * reach;
    around(px - reach, py - reach, px + reach, py + reach, (i) => {
      const distance = (x[i] - px) ** 2 + (y[i] - py) ** 2;
      if (distance <= best) {
        best = distance;
        found = i;
      }
    });
    return found;
  }

  function inBox(left, top, right, bottom) {
    const found = [];
    around(left, top, right, bottom, (i) => {
      if (x[i] >= left && x[i] <= right && y[i] >= top && y[i] <= bottom) found.push(i);
    });
    return found;
  }

  // The images inside a closed line of corners [[x, y], ...], by the even-odd rule.
  function inside(corners) {
    const across = Float64Array.from(corners, (corner) => corner[0]);
    const down = Float64Array.from(corners, (corner) => corner[1]);
    const box = [Math.min(...across), Math.min(...down), Math.max(...across), Math.max(...down)];
    return inBox(...box).filter((i) => isInside(across, down, x[i], y[i]));
  }

  // The nearest image in a direction, within 45 degrees of it; -1 where there is none.
  function nextInDirection(from, across, down) {
    let found = -1;
    let best = Infinity;
    for (let i = 0; i < n; i++) {
      const dx = x[i] - x[from];
      const dy = y[i] - y[from];
      const ahead = dx * across + dy * down;
      const aside = Math.abs(dx * down - dy * across);
      if (ahead <= 0 || aside > ahead) continue;
      const distance = dx * dx + dy * dy + aside * aside;
      if (distance < best) {
        best = distance;
        found = i;
      }
    }
    return found;
  }

  return { around, count, nearest, inBox, inside, nextInDirection };
}

function isInside(across, down, px, py) {
  let within = false;
  for (let i = 0, j = down.length - 1; i < down.length; j = i++) {
    if (down[i] > py === down[j] > py) continue;
    const crossing = ((across[j] - across[i]) * (py - down[i])) / (down[j] - down[i]) + across[i];
    if (px < crossing) within = !within;
  }
  return within;
}
