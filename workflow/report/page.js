// A click, or Enter, on a heading sorts its table by that column: numbers by value, everything else by name.
// Tables with merged cells or several rows of headings stay as they are.
const number = (text) => parseFloat(text.replace(/^[[(]/, "").replace("−", "-").replace(/,/g, ""));
const compare = (a, b) => isNaN(number(a)) - isNaN(number(b)) || number(a) - number(b) || a.localeCompare(b);
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  const merged = table.querySelector("[rowspan]:not([rowspan='1']), [colspan]:not([colspan='1'])");
  if (!body || merged || table.tHead?.rows.length !== 1) continue;
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    const sort = () => {
      const order = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      const text = (row) => row.cells[column].textContent.trim();
      body.append(...[...body.rows].sort((a, b) => order * compare(text(a), text(b))));
      for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
      heading.setAttribute("aria-sort", order === 1 ? "ascending" : "descending");
    };
    heading.setAttribute("aria-sort", "none");
    heading.tabIndex = 0;
    heading.addEventListener("click", sort);
    heading.addEventListener("keydown", (event) => event.key === "Enter" && sort());
  });
}
