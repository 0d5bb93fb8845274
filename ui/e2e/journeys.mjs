// What people come for, click by click.
import { settle } from "./browser.mjs";

const must = (truth, text) => {
  if (!truth) throw new Error(text);
};

export async function journeys(test, base, fault, entity) {
  await test("journey: from Now to the cause in two clicks", {}, async (page) => {
    if (fault?.state !== "open" || !fault.cause) return "no open incident with a cause";
    await page.goto(base);
    await settle(page);
    await page.locator(".inc h2 a").first().click();
    await page.waitForURL(/\/incidents\//);
    await settle(page);
    await page.locator(".ev .who .ent").first().click();
    await page.waitForURL(/panel=/);
    must(new URL(page.url()).searchParams.get("panel") === fault.cause.entity_id, "the second click does not lead to the cause");
    await page.locator(".side .chk, .side .pad").first().waitFor();
  });

  await test("journey: the side panel follows the rows of a list, p leads into it, Esc closes it", {}, async (page) => {
    await page.goto(`${base}/entities`);
    await settle(page);
    const shown = () => new URL(page.url()).searchParams.get("panel");
    const rows = page.locator(".vtr a.ent");
    if ((await rows.count()) < 3) return "fewer than three entities";
    await rows.first().focus();
    await page.keyboard.press("Enter");
    await page.locator(".side h2").waitFor();
    const first = shown();
    await page.keyboard.press("ArrowDown");
    await page.waitForURL((url) => url.searchParams.get("panel") !== first);
    must((await page.evaluate(() => document.activeElement.dataset.entity)) === shown(), "the focus is not on what is shown");
    await page.keyboard.press("p");
    must(await page.evaluate(() => document.activeElement.id === "side"), "p does not lead into the panel");
    await page.keyboard.press("Escape");
    await page.locator(".side").waitFor({ state: "detached" });
    must((await page.evaluate(() => document.activeElement.dataset.entity)) !== undefined, "the focus did not go back");
    await rows.first().click();
    await page.locator(".side header a.btn").click();
    await page.waitForURL(/\/entities\//);
  });

  await test("journey: settings of a probe are shown, and a text that is none is not sent", {}, async (page) => {
    await page.goto(`${base}/agent`);
    await settle(page);
    const settings = page.locator("tr.hooks details").last();
    if ((await settings.count()) === 0) return "no agent";
    await settings.locator("summary").click();
    await settings.locator("dl dd").first().waitFor();
    await settings.locator("button").nth(1).click();
    must(JSON.parse(await settings.locator("textarea").inputValue()).state === undefined, "the text starts or stops the probe");
    await settings.locator("textarea").fill("{");
    await settings.locator("button.btn").nth(1).click();
    must((await settings.locator("[role=alert]").textContent()).includes("JSON"), "it is not said what is wrong");
  });

  await test("journey: an incident is exported as a case that can be replayed", {}, async (page) => {
    if (!fault) return "no incident";
    await page.goto(`${base}/incidents/${encodeURIComponent(fault.id)}`);
    await settle(page);
    await page.locator(".menu summary").click();
    const download = page.waitForEvent("download");
    await page.locator(".menu li button").last().click();
    const file = await download;
    must(file.suggestedFilename().endsWith(".tar"), "it is no archive");
    const { readFile } = await import("node:fs/promises");
    const bytes = await readFile(await file.path());
    const names = [];
    for (let at = 0; bytes[at] !== 0 && at < bytes.length; ) {
      const text = (from, length) => bytes.toString("latin1", at + from, at + from + length).replace(/\0.*/s, "");
      names.push(text(0, 100).split("/").pop());
      at += 512 + Math.ceil(Number.parseInt(text(124, 12), 8) / 512) * 512;
    }
    must(names.join() === "case.json,metrics.csv,graph.json,result.json", `it holds ${names}`);
    must(/\d{10},.*\d/.test(bytes.toString("latin1")), "no number is in it");
  });

  await test("journey: ? tells the keys", {}, async (page) => {
    await page.goto(base);
    await settle(page);
    await page.keyboard.press("?");
    await page.locator("dialog.keys[open]").waitFor();
    await page.keyboard.press("Escape");
    await page.locator("dialog.keys").waitFor({ state: "detached" });
  });

  await test("journey: from an anomaly row to its chart and to both maps", {}, async (page) => {
    await page.goto(`${base}/incidents?range=30m`);
    await settle(page);
    const row = page.locator(".vtr").first();
    if ((await row.count()) === 0) return "no anomaly in the window";
    const metric = await row.locator("a.lnk").first().getAttribute("title");
    await row.locator("a.lnk").first().click();
    await page.waitForURL(/\/entities\/.*metric=/);
    await settle(page);
    await page.waitForSelector(".sm .asked");
    const shown = (await page.locator(".sm .asked .mn").getAttribute("title")).split("\n")[0];
    must(metric === shown || metric.replace(/_(sum|count)$/, "") === shown, "another chart is marked");
    await page.goBack();
    await settle(page);
    await page.locator(".vtr").first().locator("a.ent").click();
    await page.waitForURL(/\/map\?.*center=/);
    await settle(page);
    await page.waitForSelector(".panes section:nth-of-type(1) .node");
    await page.locator(".vert .node.sel").waitFor();
    must(/layer=(host|process)/.test(page.url()), "the horizontal map is not on the layer of the entity");
  });

  await test("journey: rows of anomalies stand apart whatever is filtered", {}, async (page) => {
    await page.goto(`${base}/incidents?range=30m`);
    await settle(page);
    if ((await page.locator(".vtr").count()) === 0) return "no anomaly in the window";
    const filters = page.locator("main .sec .grp button");
    for (const index of [2, 1, 0, 2, 0]) {
      await filters.nth(index).click();
      await page.waitForFunction((at) => document.querySelectorAll("main .sec .grp button")[at].ariaPressed === "true", index);
      const places = await page.locator(".vtr").evaluateAll((rows) => rows.map((row) => row.style.transform));
      must(new Set(places).size === places.length, "rows are painted over each other");
      const told = await page.locator(".sec:has(.vt) h2 small").textContent();
      if (Number.parseInt(told, 10) < 20) must(Number.parseInt(told, 10) === places.length, `${told}, but ${places.length} rows`);
    }
  });

  await test("journey: to a past moment and back to now", {}, async (page) => {
    await page.goto(base);
    await settle(page);
    await page.keyboard.press("[");
    await page.waitForURL(/[?&]at=\d+/);
    await page.locator(".tbar .past").waitFor();
    await page.keyboard.press("]");
    await page.waitForURL((url) => !url.searchParams.has("at"));
    const track = page.locator(".tbar .track");
    const box = await track.boundingBox();
    await page.mouse.move(box.x + box.width * 0.3, box.y + 10);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.5, box.y + 10, { steps: 4 });
    await page.mouse.up();
    await page.waitForURL(/at=\d+.*range=|range=.*at=\d+/);
    await page.locator(".tbar .past").click();
    await page.waitForURL((url) => !url.searchParams.has("at"));
    await page.locator(".tbar .live").waitFor();
  });

  await test("journey: search, entity, connections, peer", {}, async (page) => {
    if (!entity) return "no process known";
    const answer = await (await fetch(`${base}/api/v1/topology/horizontal?layer=process`)).json();
    const edge = answer.edges.find((one) => one.relation === "connect" && one.from !== one.to);
    if (!edge) return "no connection known";
    const client = answer.nodes.find((node) => node.id === edge.from);
    await page.goto(base);
    await settle(page);
    await page.keyboard.press("/");
    await page.locator(".pin input").fill(client.name.split(", ").slice(0, 2).join(" "));
    await page.locator('.plist [role="option"]').filter({ hasText: "proc" }).first().waitFor();
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("ArrowUp");
    await page.locator('.plist [role="option"]').filter({ hasText: "proc" }).first().click();
    await page.waitForURL(/\/entities\//);
    await settle(page);
    const peer = page.locator(".vt .vtr a.ent").first();
    await peer.waitFor();
    const from = page.url();
    await peer.click();
    await page.waitForURL((url) => String(url) !== from);
    await settle(page);
    must(/\/entities\//.test(page.url()), "the peer is not an entity page");
  });

  await test("journey: an edge on the map leads to its requests", {}, async (page) => {
    await page.goto(`${base}/map?rates=1`);
    await settle(page);
    await page.waitForSelector(".node");
    const label = page.locator(".elab text").first();
    if ((await label.count()) === 0) return "no labelled edge";
    await label.click();
    await page.waitForURL(/\/entities\/.*peer=/);
    await settle(page);
    await page.locator(".vt .vtr").first().waitFor();
  });

  await test("journey: the keys lead to every page, Esc goes back", {}, async (page) => {
    await page.goto(base);
    await settle(page);
    for (const [key, path] of [
      ["i", "/incidents"],
      ["m", "/map"],
      ["e", "/entities"],
      ["x", "/explore"],
      ["a", "/agent"],
      ["n", "/"],
    ]) {
      await settle(page);
      if (await page.locator(".editor textarea:focus").count()) await page.keyboard.press("Escape");
      await page.evaluate(() => document.activeElement?.blur?.());
      await page.keyboard.press("g");
      await page.keyboard.press(key);
      await page.waitForURL((url) => url.pathname === path);
      // The address changes before the page does; a key pressed in between belongs to the page that is left.
      await page.waitForFunction((wanted) => document.querySelector(".rail a[aria-current]")?.pathname === wanted, path);
    }
    await page.keyboard.press("Escape");
    await page.waitForURL((url) => url.pathname === "/agent");
    await page.keyboard.press("t");
    await page.waitForURL(/table=1/);
  });

  await test("journey: a map dragged by a node moves and chooses nothing", {}, async (page) => {
    await page.goto(`${base}/map`);
    await settle(page);
    const node = page.locator(".panes section:nth-of-type(1) .node").first();
    await node.waitFor();
    const place = () => page.locator(".panes section:nth-of-type(1) svg.pic > g").getAttribute("transform");
    const [url, before, box] = [page.url(), await place(), await node.boundingBox()];
    await page.mouse.move(box.x + 20, box.y + 20);
    await page.mouse.down();
    await page.mouse.move(box.x + 60, box.y + 45, { steps: 5 });
    await page.mouse.up();
    must((await place()) !== before, "the map was not moved");
    await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => setTimeout(done))));
    must(page.url() === url, "a drag chose a node");
    await node.click();
    await page.waitForURL(/center=|open=|panel=/);
  });

  await test("journey: Back brings the filter of a list back to its field", {}, async (page) => {
    await page.goto(`${base}/entities?q=proc`);
    await settle(page);
    const field = page.locator("main input[type=search]");
    await page.locator('.rail a[href^="/entities"]').click();
    await page.waitForURL((url) => !url.searchParams.has("q"));
    await page.waitForFunction(() => document.querySelector("main input[type=search]").value === "");
    await page.goBack();
    await page.waitForURL(/q=proc/);
    await page.waitForFunction(() => document.querySelector("main input[type=search]").value === "proc");
    await field.fill("pro");
    await page.waitForURL(/q=pro$/);
  });

  await test("journey: without a clipboard the id is selected", {}, async (page) => {
    if (!entity) return "no process known";
    await page.addInitScript(() => Object.defineProperty(navigator, "clipboard", { value: undefined }));
    await page.goto(`${base}/entities/${encodeURIComponent(entity.id)}`);
    await settle(page);
    await page.locator("main button.idc").first().click();
    await page.waitForFunction((id) => String(getSelection()) === id, entity.id);
  });

  await test("journey: every page opens while the hub is away", { expected: [503] }, async (page) => {
    await page.goto(base);
    await settle(page);
    const names = ["MapPage", "Explore", "Agent", "Entities", "Incidents"];
    const areRead = (wanted) => {
      const found = performance.getEntriesByType("resource").filter((one) => one.name.endsWith(".js"));
      return wanted.every((name) => found.some((one) => one.name.includes(`/assets/${name}-`)));
    };
    await page.waitForFunction(areRead, names);
    // With all they stand on.
    await page.evaluate(() => {
      const scripts = performance.getEntriesByType("resource").filter((one) => /\/assets\/[A-Z]\w+-.*\.js$/.test(one.name));
      return Promise.all(scripts.map((one) => import(one.name))).then(() => undefined);
    });
    await page.route(/\/assets\/|\/api\//, (route) => route.abort());
    for (const path of ["/map", "/explore", "/agent", "/entities", "/incidents"]) {
      await page.locator(`.rail a[href^="${path}"]`).click();
      await page.waitForURL((url) => url.pathname === path);
      await page.locator("main h1").first().waitFor({ state: "attached" });
      must(!/could not be read/.test(await page.locator("main h1").first().textContent()), `${path} could not be read`);
    }
  });

  await test("journey: a hub on this host is asked without any internet", {}, async (page) => {
    await page.goto(base);
    await settle(page);
    await page.evaluate(() => dispatchEvent(new Event("offline")));
    await page.locator('.rail a[href^="/entities"]').click();
    await page.locator(".vtr").first().waitFor();
  });

  await test("journey: arrows move in the map, Enter chooses", {}, async (page) => {
    await page.goto(`${base}/map`);
    await settle(page);
    const nodes = page.locator(".panes section:nth-of-type(1) .node");
    await nodes.first().waitFor();
    if ((await nodes.count()) < 3) return "fewer than three nodes";
    await page.locator('.panes section:nth-of-type(1) .node[tabindex="0"]').focus();
    const before = await page.evaluate(() => document.activeElement.id);
    for (const key of ["ArrowDown", "ArrowUp", "ArrowRight", "ArrowLeft"]) {
      await page.keyboard.press(key);
      if ((await page.evaluate(() => document.activeElement.id)) !== before) break;
    }
    must((await page.evaluate(() => document.activeElement.id)) !== before, "no arrow moves the focus");
    await page.keyboard.press("Enter");
    await page.waitForURL(/center=|open=/);
  });

  await test("journey: a query is completed, run, and stands in the address", {}, async (page) => {
    await page.goto(`${base}/explore`);
    await settle(page);
    const field = page.locator(".editor textarea");
    await field.pressSequentially("gala_gopher_disk", { delay: 5 });
    await page.locator('.comp [role="option"]').first().waitFor();
    await page.keyboard.press("Enter");
    must((await field.inputValue()).startsWith("gala_gopher_disk_"), "the completion was not taken");
    await page.keyboard.press("Enter");
    await page.waitForURL(/q=gala_gopher_disk_/);
    await page.waitForSelector(".graph canvas, .empty");
    if (await page.locator(".graph canvas").count()) {
      const unit = /disk_(w_await|r_await|util|wspeed)/.test(page.url());
      if (unit) await page.locator(".gu").waitFor();
    }
    await page.keyboard.press("Tab");
  });

  await test("unknown addresses say so and lead back", { expected: [404] }, async (page) => {
    for (const path of ["/nowhere", "/incidents/none-such", "/entities/none-such"]) {
      await page.goto(base + path);
      await page.locator("main h1", { hasText: "nothing here" }).waitFor();
    }
    await page.locator("main .way a").click();
    await page.waitForURL((url) => url.pathname === "/");
  });

  await test("the shell is small and answers quickly", {}, async (page) => {
    await page.goto(base);
    await settle(page);
    const names = await page.evaluate(() =>
      performance
        .getEntriesByType("resource")
        // The rest is read when nothing else is to be done.
        .filter((one) => one.startTime < (performance.getEntriesByName("gala-rest")[0]?.startTime ?? Number.POSITIVE_INFINITY))
        .filter((one) => /\.js$/.test(one.name))
        .map((one) => one.name),
    );
    const { gzipSync } = await import("node:zlib");
    let total = 0;
    for (const name of names) total += gzipSync(Buffer.from(await (await fetch(name)).arrayBuffer())).length;
    must(total < 250_000, `the shell and its first page are ${total} bytes gzipped`);
  });
}
