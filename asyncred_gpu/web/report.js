"use strict";
// The report of one run. Everything it shows is in the page: `data` is what html_report.py wrote.
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const COLOURS = ["#1f6fb4", "#d95f02", "#1b9e77", "#7a4fa3"];

$("title").textContent = data.title;
$("summary").textContent = data.summary;
for (const note of data.notes) {
  const item = document.createElement("li");
  item.textContent = note;
  $("notes").append(item);
}

// --- images: 16 bits a pixel between low and high, drawn between black and white ---------------------------------------

function unpacked(image) {
  const bytes = Uint8Array.from(atob(image.pixels), (c) => c.charCodeAt(0));
  const words = new Uint16Array(bytes.buffer);
  const values = new Float32Array(words.length);
  const step = (image.high - image.low) / 65535;
  for (let i = 0; i < words.length; i++) values[i] = image.low + step * words[i];
  return values;
}

const images = data.images.map((image) => ({ ...image, values: unpacked(image) }));
const rows = data.rows, cols = data.cols;
const view = { x: 0, y: 0, side: Math.max(rows, cols) };  // top left corner and side of what is seen, in pixels
const profile = { row: Math.floor(rows / 2), column: Math.floor(cols / 2) };
const levels = { black: data.black, white: data.white };
const span = { low: data.low, high: data.high };

function pictured(image) {
  const [black, white] = image.error ? [-levels.error, levels.error] : [levels.black, levels.white];
  const pixels = new ImageData(cols, rows), scale = 255 / Math.max(white - black, 1e-30);
  for (let i = 0; i < image.values.length; i++) {
    const grey = (image.values[i] - black) * scale;
    pixels.data.set([grey, grey, grey, 255], 4 * i);  // clamped by the array
  }
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [cols, rows];
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}

function drawImages() {
  for (const image of images) {
    const context = image.canvas.getContext("2d"), side = image.canvas.width, zoom = side / view.side;
    context.imageSmoothingEnabled = false;
    context.fillStyle = "#000";
    context.fillRect(0, 0, side, side);
    context.drawImage(image.picture, -view.x * zoom, -view.y * zoom, cols * zoom, rows * zoom);
    context.strokeStyle = "#ffd000";
    context.beginPath();
    if ($("along-row").checked) {
      const y = (profile.row + 0.5 - view.y) * zoom;
      context.moveTo(0, y), context.lineTo(side, y);
    } else {
      const x = (profile.column + 0.5 - view.x) * zoom;
      context.moveTo(x, 0), context.lineTo(x, side);
    }
    context.stroke();
  }
}

function applyLevels(event) {
  const moved = event ? event.target.id : "white";  // the other one goes along
  if (+$("black").value >= +$("white").value) {
    if (moved === "black") $("white").value = Math.min(1000, +$("black").value + 1);
    $("black").value = Math.min(+$("black").value, +$("white").value - 1);
  }
  const at = (id) => span.low + (span.high - span.low) * $(id).value / 1000;
  levels.black = at("black");
  levels.white = Math.max(at("white"), levels.black + (span.high - span.low) / 1000);
  levels.error = (levels.white - levels.black) / data.error_gain;
  $("levels").textContent = `${levels.black.toPrecision(3)} to ${levels.white.toPrecision(3)}`;
  for (const image of images) image.picture = pictured(image);
  drawImages();
}

function place(event, canvas) {
  const box = canvas.getBoundingClientRect();
  return [view.x + (event.clientX - box.left) / box.width * view.side,
          view.y + (event.clientY - box.top) / box.height * view.side];
}

function keepInside() {
  const whole = Math.max(rows, cols);
  view.side = Math.min(Math.max(view.side, 8), whole);
  view.x = Math.min(Math.max(view.x, 0), Math.max(0, cols - view.side));
  view.y = Math.min(Math.max(view.y, 0), Math.max(0, rows - view.side));
}

for (const image of images) {
  const figure = document.createElement("figure"), caption = document.createElement("figcaption");
  image.canvas = document.createElement("canvas");
  image.canvas.width = image.canvas.height = 800;
  caption.textContent = image.name;
  figure.append(image.canvas, caption);
  $("images").append(figure);
  let held = null;
  image.canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const [x, y] = place(event, image.canvas), factor = event.deltaY > 0 ? 1.25 : 0.8, before = view.side;
    view.side *= factor;
    keepInside();
    const done = view.side / before;
    view.x = x - (x - view.x) * done, view.y = y - (y - view.y) * done;
    keepInside();
    drawImages();
  }, { passive: false });
  image.canvas.addEventListener("pointerdown", (event) => {
    held = { x: event.clientX, y: event.clientY, moved: false };
    image.canvas.setPointerCapture(event.pointerId);
  });
  image.canvas.addEventListener("pointermove", (event) => {
    if (!held) return;
    const scale = view.side / image.canvas.getBoundingClientRect().width;
    const dx = event.clientX - held.x, dy = event.clientY - held.y;
    if (Math.abs(dx) + Math.abs(dy) > 3 || held.moved) {
      view.x -= dx * scale, view.y -= dy * scale;
      held = { x: event.clientX, y: event.clientY, moved: true };
      keepInside();
      drawImages();
    }
  });
  image.canvas.addEventListener("pointerup", (event) => {
    if (held && !held.moved) {
      const [x, y] = place(event, image.canvas);
      profile.row = Math.min(Math.max(Math.floor(y), 0), rows - 1);
      profile.column = Math.min(Math.max(Math.floor(x), 0), cols - 1);
      drawImages();
      drawProfile();
    }
    held = null;
  });
}

$("black").addEventListener("input", applyLevels);
$("white").addEventListener("input", applyLevels);
$("reset").addEventListener("click", () => {
  Object.assign(view, { x: 0, y: 0, side: Math.max(rows, cols) });
  setLevels();
});
for (const id of ["along-row", "along-column"]) $(id).addEventListener("change", () => (drawImages(), drawProfile()));

// --- profile and curves ----------------------------------------------------------------------------------------------

function axisStyle(label) { return { label, labelSize: 20, font: "12px sans-serif", labelFont: "12px sans-serif" }; }

let profileChart = null;
function drawProfile() {
  const alongRow = $("along-row").checked, count = alongRow ? cols : rows;
  const shown = images.filter((image) => !image.error);
  const line = (image) => Array.from({ length: count }, (_, i) =>
    alongRow ? image.values[profile.row * cols + i] : image.values[i * cols + profile.column]);
  const values = [Array.from({ length: count }, (_, i) => i), ...shown.map(line)];
  const at = alongRow ? profile.row : profile.column;
  $("profile-title").textContent = `Profile along ${alongRow ? "row" : "column"} ${at * data.binning}`;
  if (profileChart) profileChart.destroy();
  profileChart = new uPlot({
    width: Math.min(1200, document.body.clientWidth - 40), height: 220,
    scales: { x: { time: false } },
    axes: [axisStyle("pixel"), axisStyle("attenuation a pixel")],
    series: [{ label: "pixel" }, ...shown.map((image, i) => ({ label: image.name, stroke: COLOURS[i], width: 1.2 }))],
  }, values, $("profile"));
}

const powers = (_, ticks) => ticks.map((tick) => tick === null ? "" : tick < 0.01 ? tick.toExponential() : String(tick));

let charts = [];
function drawCurves() {
  for (const chart of charts) chart.destroy();
  const x = $("over-sweeps").checked ? data.history.sweep : data.history.seconds;
  charts = data.curves.map((curve) => new uPlot({
    title: curve.title, width: 600, height: 260,
    cursor: { sync: { key: "curves" } },
    scales: { x: { time: false }, y: curve.log ? { distr: 3 } : {} },
    axes: [axisStyle($("over-sweeps").checked ? "sweeps" : "seconds"), curve.log ? { ...axisStyle(""), values: powers } : axisStyle("")],
    series: [{ label: "at" }, { label: curve.title, stroke: COLOURS[0], width: 1.4 }],
  }, [x, data.history[curve.name]], $("curves")));
}
for (const id of ["over-sweeps", "over-seconds"]) $(id).addEventListener("change", drawCurves);

// --- timeline --------------------------------------------------------------------------------------------------------

function drawTimeline() {
  const lanes = data.timeline, canvas = $("timeline");
  const end = lanes.end, begin = lanes.begin, whole = end - begin;
  const shown = whole * Math.max(0.001, ($("shown").value / 1000) ** 3);
  const from = begin + (whole - shown) * $("from").value / 1000;
  canvas.width = canvas.clientWidth * 2;
  canvas.height = Math.max(60, 34 * lanes.workers) * 2;
  canvas.style.height = `${canvas.height / 2}px`;
  const context = canvas.getContext("2d"), scale = canvas.width / shown, lane = canvas.height / lanes.workers;
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  for (let i = 0; i < lanes.worker.length; i++) {
    const left = (lanes.launched[i] - from) * scale, right = (lanes.published[i] - from) * scale;
    if (right < 0 || left > canvas.width) continue;
    context.fillStyle = lanes.asked[i] ? COLOURS[0] : COLOURS[1];
    context.fillRect(left, lanes.worker[i] * lane + 4, Math.max(right - left - 1, 1), lane - 8);
  }
  $("window").textContent = `${from.toFixed(2)} s to ${(from + shown).toFixed(2)} s`;
}

// --- settings --------------------------------------------------------------------------------------------------------

function table(values) {
  const found = document.createElement("table");
  for (const [name, value] of Object.entries(values)) {
    const line = found.insertRow();
    line.insertCell().textContent = name;
    const nested = value !== null && typeof value === "object" && !Array.isArray(value);
    if (nested) line.insertCell().append(table(value));
    else line.insertCell().textContent = Array.isArray(value) ? value.join(", ") : String(value);
  }
  return found;
}

function setLevels() {
  const position = (value) => 1000 * (value - span.low) / (span.high - span.low);
  $("black").value = position(data.black);
  $("white").value = position(data.white);
  applyLevels();
}

setLevels();
drawProfile();
drawCurves();
if (data.timeline) {
  $("busy").textContent = data.timeline.said;
  for (const id of ["from", "shown"]) $(id).addEventListener("input", drawTimeline);
  window.addEventListener("resize", drawTimeline);
  drawTimeline();
} else $("timeline-section").remove();
$("settings").append(table(data.settings));
window.reportReady = true;
