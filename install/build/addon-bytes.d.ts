declare module "*.node" {
  const bytes: Uint8Array;
  export { bytes as default };
}
