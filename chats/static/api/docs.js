// Swagger UI over the served document. Nothing is stored: a token lives as long as the page.
"use strict";

const place = document.getElementById("api");
window.ui = SwaggerUIBundle({
  url: place.dataset.document,
  domNode: place,
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  filter: true,
  persistAuthorization: false,
  showCommonExtensions: true,
  tryItOutEnabled: true,
  validatorUrl: null,
  withCredentials: false,
});
// The links of the steps go to an operation: open it, though the address changed only behind "#".
window.addEventListener("hashchange", () => {
  const [tag, name] = decodeURIComponent(location.hash.slice(2)).split("/");
  if (tag && name) {
    window.ui.layoutActions.show(["operations", tag, name], true);
    const found = document.getElementById(`operations-${tag.replaceAll(" ", "_")}-${name}`);
    if (found) found.scrollIntoView();
  }
});
