// Asks for a token, kindly.
export function askForToken(dialog, trouble) {
  const field = dialog.querySelector("input");
  const form = dialog.querySelector("form");
  dialog.querySelector("#token-why").textContent = trouble.message.includes("known") ?
    "The token is not known here. Is it copied whole?" : trouble.message.includes("'search'") ?
    "That token may not search. Whoever runs the server has one that may." : trouble.code === 403 ?
    "This needs a token that may write. Whoever runs the server has it." :
    "Whoever runs it has one for you.";
  field.value = "";
  if (!dialog.open) dialog.showModal();
  return new Promise((done) => {
    const finish = (value) => {
      dialog.removeEventListener("close", cancel);
      form.removeEventListener("submit", use);
      if (dialog.open) dialog.close();
      done(value);
    };
    const cancel = () => finish("");
    const use = (event) => {
      event.preventDefault();
      finish(field.value.trim());
    };
    form.addEventListener("submit", use);
    dialog.addEventListener("close", cancel);
    form.querySelector("[value=cancel]").onclick = cancel;
  });
}
