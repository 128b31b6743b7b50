// Package starter writes a first configuration: athd.yaml, with a comment on
// what each line is and what changes for production, and providers.json where
// the API is somebody else's. [Make] touches no file. It holds no secret: the
// client secret is named, as a variable or a file.
package starter
