"use strict";
const one = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const NS = "http://www.w3.org/2000/svg";
const KINDS = { heldout: "calibration", good: "good", defective: "defective", unlabeled: "unlabeled" };

function draw(parent, name, attributes, text) {
  const element = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}
const above = (sorted, threshold) => {
  let low = 0, high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] > threshold) high = middle; else low = middle + 1;
  }
  return sorted.length - low;
};
const short = (value) => Number(value).toPrecision(4);

/* Overview: sorting and sparklines. */
function sortable(table) {
  const body = one("tbody", table);
  all("thead th", table).forEach((head, column) => {
    const button = one("button", head);
    if (!button) return;
    button.addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") === "ascending";
      all("thead th", table).forEach((heading) => heading.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const value = (row) => row.cells[column].dataset.sort ?? row.cells[column].textContent.trim();
      const rows = [...body.rows].sort((a, b) => {
        const [left, right] = [value(a), value(b)];
        const [x, y] = [parseFloat(left), parseFloat(right)];
        const none = (left === "–") - (right === "–"); // Rows without a value are last in both orders.
        if (none) return none;
        const order = column === 0 || isNaN(x) || isNaN(y) ? left.localeCompare(right, undefined, { numeric: true }) : x - y;
        return descending ? -order : order;
      });
      body.append(...rows);
    });
  });
}
function spark(svg) {
  const { good, others, threshold } = JSON.parse(svg.dataset.spark);
  svg.setAttribute("viewBox", "0 0 120 26");
  svg.setAttribute("preserveAspectRatio", "none");
  const outline = (counts) => {
    const top = Math.max(1, ...counts), step = 120 / counts.length;
    return "M0,26" + counts.map((n, i) => `L${i * step},${26 - 24 * n / top}L${(i + 1) * step},${26 - 24 * n / top}`).join("") + "L120,26Z";
  };
  if (good.some(Boolean)) draw(svg, "path", { d: outline(good), class: "good", "fill-opacity": 0.35, "stroke-width": 0 });
  if (others.some(Boolean)) draw(svg, "path", { d: outline(others), class: "defective", "fill-opacity": 0.15 });
  if (threshold !== null) {
    const x = 120 * Math.min(1, Math.max(0, threshold));
    draw(svg, "line", { x1: x, x2: x, y1: 0, y2: 26, stroke: "currentColor", "stroke-dasharray": "3 2" });
  }
}

/* Category page: charts, threshold, table of images, enlarged images. */
function range(groups, extra) {
  const every = Object.values(groups).flat().concat(extra === null ? [] : [extra]);
  const low = every.length ? every.reduce((a, b) => Math.min(a, b)) : 0;
  const high = every.length ? every.reduce((a, b) => Math.max(a, b)) : 1;
  return [low, high > low ? high : low + 1];
}
function histogram(svg, groups, [low, high]) {
  const [width, height, left, bottom, bins] = [480, 260, 8, 34, 50];
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const x = (score) => left + (width - 2 * left) * (score - low) / (high - low);
  const shares = {};
  let top = 0;
  for (const [kind, scores] of Object.entries(groups)) {
    if (!scores.length) continue;
    const counts = new Array(bins).fill(0);
    for (const score of scores) counts[Math.min(bins - 1, Math.floor(bins * (score - low) / (high - low)))] += 1 / scores.length;
    shares[kind] = counts;
    top = Math.max(top, ...counts);
  }
  const y = (share) => height - bottom - (height - bottom - 22) * share / top;
  draw(svg, "line", { class: "axis", x1: left, x2: width - left, y1: height - bottom, y2: height - bottom });
  for (let tick = 0; tick <= 4; tick++) {
    const score = low + (high - low) * tick / 4;
    draw(svg, "text", { x: x(score), y: height - bottom + 14, "text-anchor": ["start", "middle", "middle", "middle", "end"][tick] }, short(score));
  }
  let labelX = left;
  for (const [kind, counts] of Object.entries(shares)) {
    const base = height - bottom;
    const steps = counts.map((n, i) => `L${x(low + (high - low) * i / bins)},${y(n)}L${x(low + (high - low) * (i + 1) / bins)},${y(n)}`);
    draw(svg, "path", { class: `fill ${kind}`, d: `M${x(low)},${base}${steps.join("")}L${x(high)},${base}Z` });
    const label = `${KINDS[kind]} (${groups[kind].length})`;
    draw(svg, "rect", { class: `fill ${kind}`, x: labelX, y: 3, width: 12, height: 9 });
    draw(svg, "text", { x: labelX + 16, y: 12 }, label);
    labelX += 30 + 6.2 * label.length;
  }
  draw(svg, "text", { x: width - left, y: height - 4, "text-anchor": "end" }, "score (height: share of the images in each group)");
  return (threshold) => {
    one(".threshold", svg)?.remove();
    draw(svg, "line", { class: "threshold", y1: 18, y2: height - bottom, x1: x(threshold), x2: x(threshold) });
  };
}
function curve(svg, points, [across, up], diagonal) {
  const [side, edge] = [240, 30];
  svg.setAttribute("viewBox", `0 0 ${side} ${side}`);
  const toPixels = ([x, y]) => [edge + (side - edge - 6) * x, side - edge - (side - edge - 6) * y];
  draw(svg, "path", { class: "axis", fill: "none", d: `M${toPixels([0, 1])}L${toPixels([0, 0])}L${toPixels([1, 0])}` });
  if (diagonal) draw(svg, "path", { class: "axis", d: `M${toPixels([0, 0])}L${toPixels([1, 1])}` });
  draw(svg, "path", { class: "curve", d: "M" + points.map((point) => toPixels(point).map((v) => v.toFixed(1)).join(",")).join("L") });
  draw(svg, "text", { x: side / 2 + edge / 2, y: side - 6, "text-anchor": "middle" }, across);
  draw(svg, "text", { x: -side / 2 + edge / 2, y: 12, transform: "rotate(-90)", "text-anchor": "middle" }, up);
  for (const [at, text] of [[0, "0"], [1, "1"]]) {
    draw(svg, "text", { x: toPixels([at, 0])[0] - 3, y: side - edge + 13 }, text);
    draw(svg, "text", { x: edge - 12, y: toPixels([0, at])[1] + 4 }, text);
  }
  const now = draw(svg, "circle", { class: "now", r: 5 });
  return (point) => {
    const [x, y] = toPixels(point);
    now.setAttribute("cx", x); now.setAttribute("cy", y);
  };
}
function category(data) {
  const { groups, images } = data;
  const ends = range(groups, data.threshold);
  const move = histogram(one("#histogram"), groups, ends);
  if (data.beside) histogram(one("#beside"), data.beside, range(data.beside, null));
  let follow = () => {};
  if (groups.good.length && groups.defective.length) {
    one("#curves").hidden = false;
    const thresholds = [...new Set([...groups.good, ...groups.defective])].sort((a, b) => b - a);
    const step = Math.max(1, Math.floor(thresholds.length / 400));
    const truePositiveRate = (t) => above(groups.defective, t) / groups.defective.length;
    const falsePositiveRate = (t) => above(groups.good, t) / groups.good.length;
    const precision = (t) => {
      const [truePositives, falsePositives] = [above(groups.defective, t), above(groups.good, t)];
      return truePositives + falsePositives ? truePositives / (truePositives + falsePositives) : 1;
    };
    const kept = [...thresholds.filter((_, i) => i % step === 0), -Infinity];
    const roc = curve(one("#roc"), kept.map((t) => [falsePositiveRate(t), truePositiveRate(t)]), ["false-positive rate", "true-positive rate"], true);
    const pr = curve(one("#pr"), kept.map((t) => [truePositiveRate(t), precision(t)]), ["recall", "precision"], false);
    follow = (t) => { roc([falsePositiveRate(t), truePositiveRate(t)]); pr([truePositiveRate(t), precision(t)]); };
  }
  const slider = one("#threshold");
  let current = data.threshold ?? ends[1];
  [slider.min, slider.max, slider.value] = [...ends, current];
  const rows = one("#flagged tbody");
  function show() {
    one("#value").textContent = short(current);
    move(current);
    follow(current);
    rows.replaceChildren(...Object.entries(groups).filter(([, scores]) => scores.length).map(([kind, scores]) => {
      const row = document.createElement("tr"), flagged = above(scores, current);
      row.innerHTML = '<th scope="row"></th><td class="n"></td><td class="n"></td><td class="n"></td>';
      const values = [KINDS[kind], flagged, scores.length - flagged, (100 * flagged / scores.length).toFixed(1) + " %"];
      values.forEach((value, i) => { row.children[i].textContent = value; });
      row.dataset.kind = kind;
      return row;
    }));
    for (const card of all(".card[data-score]")) {
      const badge = one(".verdict", card), flagged = Number(card.dataset.score) > current;
      badge.textContent = flagged ? "flagged" : "not flagged";
      badge.className = `verdict ${flagged ? "yes" : "no"}`;
    }
    list();
  }
  let [shown, filter] = [100, ""];
  function list() {
    const body = one("#images tbody");
    const fitting = images.filter(([path]) => path.toLowerCase().includes(filter));
    body.replaceChildren(...fitting.slice(0, shown).map(([path, score, label]) => {
      const row = document.createElement("tr"), flagged = score > current;
      row.innerHTML = '<th scope="row"></th><td class="n"></td><td></td><td></td>';
      const values = [path, short(score), label === null ? "–" : label ? "defective" : "good", flagged ? "flagged" : "not flagged"];
      values.forEach((value, i) => { row.children[i].textContent = value; });
      row.lastChild.className = `verdict ${flagged ? "yes" : "no"}`;
      return row;
    }));
    one("#more").hidden = fitting.length <= shown;
  }
  slider.addEventListener("input", () => { current = Number(slider.value); show(); });
  one("#reset").addEventListener("click", () => { current = data.threshold ?? ends[1]; slider.value = current; show(); });
  one("#more").addEventListener("click", () => { shown += 500; list(); });
  one("#paths").addEventListener("input", (event) => { filter = event.target.value.toLowerCase(); list(); });
  show();
  enlargeImages();
}
function enlargeImages() {
  const cards = all(".gallery .card"), large = one("#large");
  let at = 0;
  const open = (number) => {
    at = (number + cards.length) % cards.length;
    const copy = cards[at].cloneNode(true);
    copy.removeAttribute("tabindex");
    one("div", large).replaceChildren(copy);
    if (!large.open) large.showModal();
  };
  cards.forEach((card, number) => {
    card.addEventListener("click", () => open(number));
    card.addEventListener("keydown", (event) => {
      if (event.key === "Enter") { open(number); event.preventDefault(); }
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) { cards[(number + step + cards.length) % cards.length].focus(); event.preventDefault(); }
    });
  });
  large.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) { open(at + step); event.preventDefault(); }
  });
  large.addEventListener("close", () => cards[at].focus());
  const toggles = { m: one("#maps"), o: one("#marks") };
  const apply = () => {
    document.body.classList.toggle("no-maps", toggles.m && !toggles.m.checked);
    document.body.classList.toggle("no-marks", toggles.o && !toggles.o.checked);
  };
  Object.values(toggles).forEach((box) => box?.addEventListener("change", apply));
  document.addEventListener("keydown", (event) => {
    if (event.target.matches?.("input[type=search]") || event.ctrlKey || event.metaKey || event.altKey) return;
    const box = toggles[event.key];
    if (box) { box.checked = !box.checked; apply(); }
    const link = { "[": 'a[rel="prev"]', "]": 'a[rel="next"]' }[event.key];
    if (link) one(link)?.click();
  });
}

all("table.sortable").forEach(sortable);
all(".spark").forEach(spark);
one("#filter")?.addEventListener("input", (event) => {
  const filter = event.target.value.toLowerCase();
  for (const row of one("#categories tbody").rows) row.hidden = !row.cells[0].textContent.toLowerCase().includes(filter);
});
if (one("#data")) category(JSON.parse(one("#data").textContent));
