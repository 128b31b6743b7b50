package vault

// KeepAfter is for tests of when refresh tokens are used.
var KeepAfter = keepAfter
