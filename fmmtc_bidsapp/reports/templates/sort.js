// Sorts a table by the column whose heading is pressed; cells carry their value in data-value.
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
      const compare = (a, b) => value(a).localeCompare(value(b), "en", { numeric: true });
      const body = table.tBodies[0];
      const rows = [...body.rows].sort(compare);
      body.append(...(ascending ? rows : rows.reverse()));
    });
  }
}
