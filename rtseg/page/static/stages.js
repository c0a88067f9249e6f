// Milliseconds by stage, of the last image and the median of the last ones, as rows of a table.

const KEPT = 30;

export class Stages {
  #body;
  #rows = new Map();

  constructor(table) {
    this.#body = table.tBodies[0];
  }

  clear() {
    this.#rows.clear();
    this.#body.replaceChildren();
  }

  // milliseconds: of one image, by the name of the stage.
  add(milliseconds) {
    const total = Object.values(milliseconds).reduce((sum, value) => sum + value, 0);
    for (const [name, value] of Object.entries({ ...milliseconds, "in all": total })) this.#show(name, value);
  }

  #show(name, value) {
    if (!this.#rows.has(name)) {
      const row = this.#body.insertRow();
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = name;
      row.append(head);
      for (let i = 0; i < 2; i++) row.insertCell().className = "number";
      this.#rows.set(name, { row, values: [] });
    }
    const { row, values } = this.#rows.get(name);
    values.push(value);
    if (values.length > KEPT) values.shift();
    const sorted = values.toSorted((a, b) => a - b);
    row.cells[1].textContent = `${value.toFixed(1)} ms`;
    row.cells[2].textContent = `${sorted[sorted.length >> 1].toFixed(1)} ms`;
  }
}
