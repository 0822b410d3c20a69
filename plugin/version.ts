/** Owns the plugin's release number. Kept equal to package.json's by a test. */
export const pluginVersion = "0.1.0";
