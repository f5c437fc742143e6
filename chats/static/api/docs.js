// Swagger UI over the served document. Nothing is stored: a token lives as long as the page.
"use strict";

// Swagger UI fills every field with its example. In a parameter that may be left out this would be sent with the first "Execute": a
// second code would be an idempotent repeat without an SMS, a list would begin behind the cursor of an example. Leave them empty.
function withoutExamples(document_) {
  const operations = Object.values(document_.paths).flatMap(Object.values);
  const parameters = operations.flatMap((operation) => operation.parameters || []);
  for (const parameter of [...parameters, ...Object.values(document_.components.parameters || {})]) {
    if (parameter.required) continue;
    delete parameter.example;
    delete parameter.examples;
  }
  return document_;
}

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
  plugins: [
    () => ({
      statePlugins: {
        spec: { wrapActions: { updateJsonSpec: (original) => (read) => original(withoutExamples(read)) } },
      },
    }),
  ],
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
