// A run of which nothing can be shown yet.
const main = document.getElementById("main");
document.getElementById("head").append(html("h1", null, data.runs[0].name), themeButton());
main.append(html("section", { id: "waiting" }, html("p", null, "Nothing is recorded of this run yet. The page shows it as soon as there is something.")));
document.getElementById("contents").append(html("ul", null, html("li", null, html("a", { href: "#live" }, "Now"))));
