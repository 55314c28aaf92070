// Snapshots of the model: list, take, download, upload, restore. All of it is the admin's; where the
// page's key may not, another is asked for, and nothing is fetched before somebody asks for it.

import { of, request } from "./api.js";
import { ask, withKey } from "./dialog.js";
import { el, fill, table } from "./dom.js";
import { bytes, count, when } from "./format.js";
import { nothing, panel } from "./panel.js";
import { save } from "./save.js";

const NAME = "[a-z0-9][a-z0-9._\\-]{0,63}";

export function mount(section, context) {
  let found = [];
  const offers = { json: () => context.path("/admin/snapshots"), rows: () => found.map(flat) };
  const { body } = panel(section, "Snapshots", "named copies of the model, as files", offers);
  const said = el("p", { role: "status", class: "said" });
  const place = el("div");
  const path = (rest = "") => of(context.model(), `/admin/snapshots${rest}`);
  const named = (snapshot, rest = "") => path(`/${encodeURIComponent(snapshot.name)}${rest}`);

  async function act(doing, action) {
    fill(said, `${doing} …`);
    try {
      fill(said, (await withKey("admin", action)) ?? "");
    } catch (error) {
      fill(said, `${doing}: ${error.message}`);
    }
  }

  const show = () =>
    act("Listing", async (once) => {
      found = (await (await request(path(), { once })).json()).snapshots;
      fill(place, found.length ? listed() : nothing("No snapshot of this model yet."));
      return "";
    });

  const take = (name) =>
    act("Taking a snapshot", async (once) => {
      const body = name ? { name } : {};
      const taken = await (await request(path(), { method: "POST", body, once })).json();
      found = [taken, ...found];
      fill(place, listed());
      return `Taken: ${taken.name} at position ${taken.position}`;
    });

  const download = (snapshot) =>
    act("Downloading", async (once) => {
      const reply = await request(named(snapshot, "/file"), { once });
      save(await reply.blob(), `${snapshot.model}-${snapshot.name}.cfs`);
      return `Downloaded: ${snapshot.name}`;
    });

  async function restore(snapshot) {
    const text = [
      `Every replica switches “${snapshot.model}” to “${snapshot.name}” (${count(snapshot.examples)} examples, position ${snapshot.position}, ${when(snapshot.created_ms)}).`,
      "What was learned since is no longer used, and progressive metrics begin anew. Take a snapshot first if you may want to come back.",
    ];
    if ((await ask({ title: "Restore this snapshot?", text, confirm: "Restore", danger: true })) === null) return;
    await act("Restoring", async (once) => {
      const done = await (await request(named(snapshot, "/restore"), { method: "POST", once })).json();
      return `Restored: ${snapshot.name}, now at position ${done.position}`;
    });
  }

  async function upload(file) {
    const name = await ask({ title: "Upload a snapshot", text: file.name, confirm: "Upload", field: { label: "Name" } });
    if (name === null) return;
    await act("Uploading", async (once) => {
      const type = "application/octet-stream";
      await request(named({ name }, "/file"), { method: "PUT", body: file, type, once });
      return `Uploaded: ${name}`;
    });
    await show();
  }

  function listed() {
    const columns = [
      { title: "name", cell: (row) => row.name },
      { title: "do", cell: (row) => [button("Download", row, download), button("Restore", row, restore)] },
      { title: "position", number: true, cell: (row) => row.position },
      { title: "examples", number: true, cell: (row) => count(row.examples) },
      { title: "taken", cell: (row) => when(row.created_ms) },
      { title: "size", number: true, cell: (row) => bytes(row.file_bytes) },
      { title: "digest", cell: (row) => el("code", { title: row.digest }, row.digest.slice(0, 12)) },
    ];
    return table("Snapshots", columns, found);
  }

  const field = el("input", { id: "snapshot-name", type: "text", pattern: NAME, placeholder: "name, or leave it out", autocomplete: "off" });
  const file = el("input", { id: "snapshot-file", type: "file", accept: ".cfs", class: "unseen", change: () => file.files[0] && upload(file.files[0]) });
  const submit = (event) => {
    event.preventDefault();
    take(field.value);
    field.value = "";
  };
  fill(
    body,
    el(
      "form",
      { class: "row", submit },
      el("label", { for: "snapshot-name", class: "unseen" }, "Name of the snapshot"),
      field,
      el("button", { type: "submit", class: "primary" }, "Take a snapshot"),
      el("label", { for: "snapshot-file", class: "unseen" }, "Snapshot file to upload"),
      file,
      el("button", { type: "button", click: () => file.click() }, "Upload"),
      el("button", { type: "button", click: show }, "List"),
    ),
    said,
    place,
  );
  return {
    model() {
      found = [];
      fill(said, "");
      fill(place, context.keyed() ? nothing("“List” asks for the snapshots; that needs the scope admin.") : []);
      if (!context.keyed()) show();
    },
  };
}

function button(text, row, action) {
  return el("button", { type: "button", "aria-label": `${text} ${row.name}`, click: () => action(row) }, text);
}

function flat({ config, ...rest }) {
  return rest;
}
