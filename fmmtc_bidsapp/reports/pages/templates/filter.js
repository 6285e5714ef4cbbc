// Shows the rows of a table that hold every word of the text and every choice of the form before
// it. A row carries what it can be chosen by in data-<name of the choice>, words with spaces between.
for (const form of document.querySelectorAll("form.filters")) {
  const table = document.getElementById(form.dataset.table);
  const rows = [...table.tBodies[0].rows];
  const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  const status = form.querySelector("[role=status]");

  const fits = (row) => {
    const words = form.elements.text.value.toLowerCase().split(/\s+/);
    const choices = [...form.querySelectorAll("select")].filter((each) => each.value);
    return words.every((word) => texts.get(row).includes(word))
      && choices.every((each) => row.dataset[each.name].split(" ").includes(each.value));
  };
  const show = () => {
    for (const row of rows) row.hidden = !fits(row);
    const n = rows.filter((row) => !row.hidden).length;
    const all = n === rows.length;
    status.textContent = all ? `All ${n} participants are shown.` : `${n} of ${rows.length} participants are shown.`;
    form.classList.toggle("filtering", !all);
  };

  form.hidden = false;
  form.addEventListener("input", show);
  form.addEventListener("reset", () => setTimeout(show));
  form.addEventListener("submit", (event) => event.preventDefault());
  show();
}
