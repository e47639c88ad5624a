// Renders the charts, makes the tables sortable and filterable, and opens runs. All data are in the page.
const read = (id) => JSON.parse(document.getElementById(id).textContent);

// Charts. They are rendered again when the page changes between light and dark.
const dark = matchMedia("(prefers-color-scheme: dark)");
const themes = read("themes");
const specifications = read("charts");
const views = new Map();

async function draw(figure) {
  const options = {
    config: themes[dark.matches ? "dark" : "light"],
    renderer: "svg",
    actions: { export: true, source: false, compiled: false, editor: false },
    downloadFileName: figure.id,
  };
  const { view } = await vegaEmbed(figure, specifications[figure.id], options);
  figure.querySelector("summary").ariaLabel = "Save this chart";
  views.set(figure, view);
}

async function drawAll() {
  for (const figure of document.querySelectorAll("figure")) await draw(figure);
  document.querySelectorAll("[data-highlights]").forEach(highlight);
}

function highlight(select) {
  for (const [figure, view] of views) {
    if (figure.dataset.section === select.dataset.highlights) {
      view.signal("highlight", select.value || null).runAsync();
    }
  }
}

document.querySelectorAll("[data-highlights]").forEach((select) => {
  select.addEventListener("change", () => highlight(select));
});
dark.addEventListener("change", drawAll);

// Tables. A module can be imported only by its address, so the embedded library becomes a blob with one.
const library = new Blob([document.getElementById("datatables").textContent], { type: "text/javascript" });
const { default: DataTable } = await import(URL.createObjectURL(library));

for (const table of document.querySelectorAll("table.sheet")) {
  new DataTable(table, {
    autoWidth: false,
    paging: false,
    info: false,
    order: [],
    columnDefs: [{ targets: "number", type: "num", orderSequence: ["desc", "asc", ""] }],
    layout: { topStart: "search", topEnd: null, bottomStart: null, bottomEnd: null },
    language: { search: "Filter", searchPlaceholder: "any text in a row", zeroRecords: "Nothing matches." },
  });
}

// The dialog with the runs of a score.
const dialog = document.querySelector("dialog");

document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-opens]");
  if (opener) {
    const contents = document.getElementById(opener.dataset.opens).content.cloneNode(true);
    document.getElementById("contents").replaceChildren(contents);
    dialog.showModal();
  }
  const copier = event.target.closest("[data-copies]");
  if (copier) {
    navigator.clipboard.writeText(copier.previousElementSibling.textContent).then(() => {
      copier.textContent = "Copied";
    });
  }
});

await drawAll();
document.documentElement.dataset.ready = "";
