// Draws lines above the canvases of ipympl; see layer.py.
function shape(c, marker, x, y, s) {
  c.beginPath();
  if (marker === 'o') c.arc(x, y, s / 2, 0, 2 * Math.PI);
  else if (marker === 's') c.rect(x - s / 2, y - s / 2, s, s);
  else if (marker === '^') {
    c.moveTo(x, y - s / 2);
    c.lineTo(x + s / 2, y + s / 2);
    c.lineTo(x - s / 2, y + s / 2);
    c.closePath();
  } else {
    c.moveTo(x - s / 2, y);
    c.lineTo(x + s / 2, y);
    c.moveTo(x, y - s / 2);
    c.lineTo(x, y + s / 2);
  }
}
function paint(c, line, a, k, n) {
  c.save();
  c.beginPath(); c.rect(...line.clip); c.clip();
  c.strokeStyle = line.color; c.lineWidth = line.width; c.setLineDash(line.dash); c.lineJoin = 'round';
  if (line.marker) {
    c.fillStyle = line.face; c.strokeStyle = line.edge; c.lineWidth = line.edgeWidth;
    for (let j = 0; j < n; j++, k += 2) {
      shape(c, line.marker, a[k], a[k + 1], line.size);
      if (line.marker !== '+') c.fill();
      c.stroke();
    }
  } else {
    let pen = false;
    c.beginPath();
    for (let j = 0; j < n; j++, k += 2) {
      if (!isFinite(a[k]) || !isFinite(a[k + 1])) { pen = false; continue; }
      if (pen) c.lineTo(a[k], a[k + 1]); else c.moveTo(a[k], a[k + 1]);
      pen = true;
    }
    c.lineCap = line.dash.length ? 'butt' : 'square';  // as matplotlib ends them
    if (line.halo) {
      c.save(); c.strokeStyle = '#000000'; c.lineWidth = line.halo; c.stroke(); c.restore();
    }
    c.stroke();
  }
  c.restore();
}
function render({ model, el }) {
  const layers = new Map();
  let said = 0;
  function say(words) {
    if (Date.now() - said < 1000) return;
    said = Date.now();
    model.send(words);
  }
  el.style.display = 'none';
  const root = () => el.closest('.sting-explorer');
  function attach(name) {
    const found = root() && root().querySelector('.sting-panel-' + name + ' .jupyter-matplotlib-canvas-div');
    if (!found) return null;
    let layer = layers.get(name);
    if (!layer) {
      layer = document.createElement('canvas');
      layer.className = 'sting-live';
      Object.assign(layer.style, { position: 'absolute', left: '0', top: '0', zIndex: 1, pointerEvents: 'none' });
      layers.set(name, layer);
    }
    if (layer.parentElement !== found) { found.appendChild(layer); found.tabIndex = -1; }
    const base = found.querySelector('canvas');
    if (layer.width !== base.width || layer.height !== base.height || layer.style.width !== base.style.width) {
      layer.width = base.width; layer.height = base.height;
      layer.style.width = base.style.width; layer.style.height = base.style.height;
      return { layer, resized: true };
    }
    return { layer, resized: false };
  }
  function draw() {
    const view = model.get('xy'), lines = model.get('lines');
    if (!view || !view.byteLength) { say({ wanted: ['lines', 'xy'] }); return; }
    const a = new Float32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
    const names = [...new Set(lines.map((line) => line.panel))];
    const found = Object.fromEntries(names.map((name) => [name, attach(name)]));
    for (const name of names) if (found[name]) {
      const c = found[name].layer.getContext('2d');
      c.clearRect(0, 0, found[name].layer.width, found[name].layer.height);
    }
    let k = lines.length;
    lines.forEach((line, j) => {
      if (found[line.panel]) paint(found[line.panel].layer.getContext('2d'), line, a, k, a[j]);
      k += 2 * a[j];
    });
    const attached = names.filter((name) => found[name]).length;
    // said again until the kernel has heard it: on a busy machine messages are lost at times, and a trait would wait for the
    // answer to the one before
    if (attached === names.length && model.get('attached') !== attached) say({ attached });
  }
  const heard = new WeakSet();
  // what ipywidgets leaves without a name
  function name() {
    for (const handle of root().querySelectorAll('.noUi-handle')) {
      const slider = handle.closest('.widget-slider'), row = handle.closest('.sting-parameter');
      handle.setAttribute('aria-label', slider.querySelector('.widget-label').textContent);
      const box = row && row.querySelector('input[type=text]');
      if (box) handle.setAttribute('aria-valuetext', box.value);
    }
    root().querySelectorAll('.sting-play button').forEach((button, k) => {
      button.setAttribute('aria-label', ['Run through the channels', 'Back to the first channel', 'Repeat'][k]);
    });
  }
  function check() {
    if (!root()) return;
    // keys belong to the explorer's controls while one of them has the focus, not to the notebook
    if (!heard.has(root())) {
      heard.add(root());
      // on the very element: the notebook's shortcuts are for whatever has the focus
      // ipympl's canvases would keep whoever tabs into them
      root().addEventListener('keydown', (event) => { if (event.key === 'Tab') event.stopPropagation(); }, true);
      root().addEventListener('focusin', (event) => { event.target.dataset.lmSuppressShortcuts = 'true'; });
    }
    name();
    const names = [...new Set(model.get('lines').map((line) => line.panel))];
    const isNew = (name) => {
      const before = layers.get(name);
      const parent = before && before.parentElement;
      const now = attach(name);
      return now && (now.resized || now.layer !== before || now.layer.parentElement !== parent);
    };
    // every name is looked at: attaching is what the check is for
    if (!names.length || names.filter(isNew).length || model.get('attached') !== names.length) draw();
  }
  model.on('change:xy', draw);
  const timer = setInterval(check, 200);
  check();
  return () => { clearInterval(timer); model.off('change:xy', draw); layers.forEach((layer) => layer.remove()); };
}
export default { render };
