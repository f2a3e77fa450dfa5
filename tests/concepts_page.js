// concepts_page.js - runs the script of a page of weft concepts on a document of a few lines, goes through table and
// concepts, and prints what a reader would see.  node tests/concepts_page.js PAGE
'use strict';
const fs = require('fs');
const html = fs.readFileSync(process.argv[2], 'utf8');
const data = /<script type="application\/json" id="data">([^]*?)<\/script>/.exec(html)[1];
const script = /<script>([^]*?)<\/script>/.exec(html)[1];
if (data.includes('<')) throw new Error('the data hold a "<"');
if (/https?:/.test(html.replace('http://www.w3.org/2000/svg', ''))) throw new Error('the page names an address');

// Just what the script uses of the DOM.
class Node {
  constructor(name) { this.name = name; this.kids = []; this.attrs = {}; this.on = {}; }
  append(...k) { this.kids.push(...k); for (const x of k) if (x instanceof Node) x.up = this; }
  prepend(...k) { this.kids.unshift(...k); }
  replaceChildren(...k) { this.kids = []; this.append(...k); }
  replaceWith(n) { this.up.kids[this.up.kids.indexOf(this)] = n; n.up = this.up; }
  setAttribute(k, v) { this.attrs[k] = String(v); }
  addEventListener(k, f) { this.on[k] = f; }
  get tBodies() { return this.kids.filter(k => k.name === 'tbody'); }
  all(name) { return this.kids.flatMap(k => k instanceof Node ? [...(k.name === name ? [k] : []), ...k.all(name)] : []); }
  text() { return this.kids.map(k => k instanceof Node ? k.text() : k).join(''); }
  querySelector(name) { return this.all(name)[0] || null; }
}
const main = new Node('main'), dataNode = {textContent: data}, listeners = {};
const document = {
  getElementById: id => id === 'main' ? main : dataNode,
  createElement: n => new Node(n), createElementNS: (_, n) => new Node(n), title: '', activeElement: {tagName: 'BODY'},
};
const location = {hash: ''};
new Function('document', 'location', 'addEventListener', 'scrollTo', script)(
  document, location, (k, f) => { listeners[k] = f; }, () => {});

const rows = () => main.all('tbody')[0].all('tr');
if (!/\.w b\{[^}]*white-space:pre/.test(html)) throw new Error('words lose their spaces');
const list = JSON.parse(data).list;
console.log('rows', rows().length, 'of', list.length);
if (rows().length !== Math.min(400, list.length) + (list.length > 400)) throw new Error('rows are missing');
const ids = () => rows().map(r => Number(r.kids[0].text()));
const sorted = list.slice().sort((a, b) => b.d - a.d)[0];
if (list.find(c => c.i === ids()[0]).d !== sorted.d) throw new Error('not sorted by density');
// one head is marked, for eyes and for readers of screens; all say what their column is
const marked = () => main.all('th').filter(h => /[\u25b4\u25be]$/.test(h.text())).map(h => h.text() + h.attrs['aria-sort']).join();
const sorts = () => main.all('th').filter(h => h.attrs['aria-sort'] !== 'none').length;
if (marked() !== 'density \u25bedescending' || sorts() !== 1) throw new Error('the sorted column has no mark: ' + marked());
if (!main.all('th').every(h => h.attrs.title)) throw new Error('a column says nothing of itself');
const found = main.all('th').find(h => h.text() === 'found');
if (found && !/labels.*best predictions/.test(found.attrs.title)) throw new Error('"found" is not explained');
main.all('button')[0].on.click(); // by id, upwards
if (ids()[0] !== Math.min(...list.map(c => c.i))) throw new Error('not sorted by id');
if (marked() !== 'id \u25b4ascending' || sorts() !== 1) throw new Error('the mark does not move: ' + marked());
main.querySelector('input').on.input({target: {value: String(sorted.i)}});
if (!ids().includes(sorted.i) || rows().length > list.length) throw new Error('the search does not find an id');
main.querySelector('input').on.input({target: {value: 'no such token'}});
if (rows().length) throw new Error('the search finds what is not there');
main.querySelector('input').on.input({target: {value: ''}});
for (const c of list) {
  location.hash = '#c=' + c.i;
  listeners.hashchange();
  if (!main.text().includes('Concept ' + c.i) || main.all('mark').length !== c.c.length) throw new Error('concept ' + c.i);
  for (const [word] of c.e.flatMap(e => e[1])) // with its space
    if (!main.all('b').some(b => b.text() === '"' + word + '"')) throw new Error('no word "' + word + '" of ' + c.i);
  if (main.all('rect').length !== c.h.length) throw new Error('no histogram of ' + c.i);
}
console.log(main.text().slice(0, 400));
location.hash = '#c=99999999';
listeners.hashchange();
if (!main.text().includes('is not on this page')) throw new Error('an unknown concept is not told');
console.log('page good');
