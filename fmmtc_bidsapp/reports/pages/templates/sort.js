// Sorts a table by the column whose heading is pressed; cells carry their value in data-value.
const absent = (value) => value === "" || value === "n/a";
const isNumber = (value) => !absent(value) && Number.isFinite(Number(value));

function order(a, b) {
  if (isNumber(a) && isNumber(b)) return Number(a) - Number(b);
  return a.localeCompare(b, "en", { numeric: true });
}

for (const table of document.querySelectorAll("table.sortable")) {
  for (const heading of table.querySelectorAll("thead th")) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const ascending = heading.getAttribute("aria-sort") !== "ascending";
      for (const other of table.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      const value = (row) => row.cells[heading.cellIndex].dataset.value ?? "";
      const rows = [...table.tBodies[0].rows];
      // Whatever the direction, who has no value comes last.
      const known = rows.filter((row) => !absent(value(row)));
      known.sort((a, b) => (ascending ? 1 : -1) * order(value(a), value(b)));
      table.tBodies[0].append(...known, ...rows.filter((row) => absent(value(row))));
    });
  }
}
