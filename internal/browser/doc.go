// Package browser is a scripted browser: it keeps cookies, follows redirects
// one hop at a time, and fills in and submits the forms that it finds in
// pages. It runs no JavaScript.
//
//	b := browser.New()
//	page, err := b.Get(ctx, authorizationURL)
//	page, err = b.Submit(ctx, page.Form().Fill("username", "alice").Fill("password", "…"))
//	page, err = b.Submit(ctx, page.Form().Untick("scope", "orders:read").Press("decision", "allow"))
//
// What a server may use to tell a person's browser from a forged request is
// sent as browsers send it: cookies, Origin on a POST, and Sec-Fetch-Site.
// SameSite is not looked at, and neither is Content-Security-Policy.
package browser
