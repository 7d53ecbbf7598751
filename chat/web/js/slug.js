/**
 * A room's name made from what somebody calls it: "Tea & Biscuits" becomes tea-biscuits. Empty if nothing is left,
 * as of a title in another script: then they choose one.
 */
export function slug(title) {
  return title
    .normalize("NFKD")
    .replace(/[\u0300-\u036f]/g, "")
    .replace(/ß/g, "ss")
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, "-")
    .replace(/-{2,}/g, "-")
    .replace(/^[-.]+|[-.]+$/g, "")
    .slice(0, 64)
    .replace(/[-.]+$/, "");
}
