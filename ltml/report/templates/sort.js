"use strict";
// Sort a table by the column that is clicked: numbers from the highest, names from the first, and the other way round
// at the next click. Undefined values come last either way.
for (const button of document.querySelectorAll(".sortable th button")) {
  button.addEventListener("click", () => {
    const header = button.closest("th");
    const column = header.cellIndex;
    const numeric = header.classList.contains("number");
    const before = header.getAttribute("aria-sort");
    const ascending = before ? before === "descending" : !numeric;
    const value = (row) => numeric ? row.cells[column].dataset.value : row.cells[column].textContent.trim();
    const compare = (a, b) => numeric ? a - b : a.localeCompare(b, undefined, { numeric: true });
    const body = header.closest("table").tBodies[0];
    const rows = [...body.rows].sort((first, second) => {
      const [a, b] = [value(first), value(second)];
      if (a === "" || b === "") return (a === "") - (b === "");
      return ascending ? compare(a, b) : compare(b, a);
    });
    body.append(...rows);
    for (const other of header.parentElement.cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  });
}
// Say above a table that is wider than its place that it scrolls.
for (const place of document.querySelectorAll(".scroll")) {
  const hint = place.previousElementSibling;
  new ResizeObserver(() => { hint.hidden = place.scrollWidth <= place.clientWidth; }).observe(place);
}
// Print what is folded away too.
let folded = [];
addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open])")];
  for (const details of folded) details.open = true;
});
addEventListener("afterprint", () => {
  for (const details of folded) details.open = false;
});
