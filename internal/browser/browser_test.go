package browser_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/athd/athd/internal/browser"
)

func page(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, body)
	}
}

// echo answers with what arrived.
func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprintf(w, "%s %s body=%s origin=%s site=%s", r.Method, r.RequestURI, body, r.Header.Get("Origin"), r.Header.Get("Sec-Fetch-Site"))
}

func serve(t *testing.T, routes map[string]http.HandlerFunc) string {
	t.Helper()
	mux := http.NewServeMux()
	for pattern, handler := range routes {
		mux.HandleFunc(pattern, handler)
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

func get(t *testing.T, b *browser.Browser, target string) *browser.Page {
	t.Helper()
	p, err := b.Get(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestFormsAreSentAsBrowsersSendThem(t *testing.T) {
	const form = `<title> A
	page </title><p>Hello&amp;<script>no()</script> you<form action="/echo?old=1" method=%s>
	<input name=text value=before><input name=empty><input type=hidden name=h value="a&amp;b">
	<input name=off disabled value=x><input type=checkbox name=c value=1 checked><input type=checkbox name=c value=2>
	<input type=checkbox name=d><input type=radio name=r value=x checked><input type=radio name=r value=y>
	<textarea name=area>some text</textarea><select name=s><option value=1>one<option value=2 selected>two</select>
	<input type=reset name=reset value=1><button type=button name=b value=0>no</button>
	<button name=b value=1>yes</button><input type=submit name=b value=2></form>`
	tests := []struct {
		name   string
		method string
		change func(*browser.Form) *browser.Form
		want   string
	}{
		{"as it stands", "post", func(f *browser.Form) *browser.Form { return f },
			"POST /echo?old=1 body=area=some+text&c=1&empty=&h=a%26b&r=x&s=2&text=before origin=ORIGIN site=same-origin"},
		{"filled, ticked, chosen and pressed", "POST", func(f *browser.Form) *browser.Form {
			return f.Fill("text", "a b").Untick("c", "1").Tick("c", "2").Tick("d", "on").Tick("r", "y").Press("b", "2")
		}, "POST /echo?old=1 body=area=some+text&b=2&c=2&d=on&empty=&h=a%26b&r=y&s=2&text=a+b origin=ORIGIN site=same-origin"},
		{"clicked by its label", "post", func(f *browser.Form) *browser.Form { return f.Press("b", "2").Click("Yes") },
			"POST /echo?old=1 body=area=some+text&b=1&c=1&empty=&h=a%26b&r=x&s=2&text=before origin=ORIGIN site=same-origin"},
		{"GET replaces the query", "get", func(f *browser.Form) *browser.Form { return f.Press("b", "1") },
			"GET /echo?area=some+text&b=1&c=1&empty=&h=a%26b&r=x&s=2&text=before body= origin= site=same-origin"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			origin := serve(t, map[string]http.HandlerFunc{"/": page(fmt.Sprintf(form, test.method)), "/echo": echo})
			b := browser.New()
			p := get(t, b, origin)
			if p.Title != "A page" || p.Text != "Hello& you some text one two no yes" {
				t.Errorf("title %q, text %q", p.Title, p.Text)
			}
			got, err := b.Submit(t.Context(), test.change(p.Form()))
			if err != nil {
				t.Fatal(err)
			}
			if want := strings.Replace(test.want, "ORIGIN", origin, 1); got.Body != want {
				t.Errorf("sent %s\nwant %s", got.Body, want)
			}
		})
	}
}

func TestWhatIsNotOnThePageCannotBeSent(t *testing.T) {
	origin := serve(t, map[string]http.HandlerFunc{
		"/":    page(`<form method=post action=/echo><input name=a><input type=checkbox name=c value=1><button name=b value=1></form>`),
		"/two": page(`<form></form><form></form>`), "/none": page(`<p>nothing`),
		"/echo": echo,
	})
	b := browser.New()
	tests := map[string]*browser.Form{
		`no field "x"`:                   get(t, b, origin).Form().Fill("x", "1"),
		`no field "c"`:                   get(t, b, origin).Form().Fill("c", "1"),
		`no box "c" with value "2"`:      get(t, b, origin).Form().Untick("c", "2"),
		`no button "b" with value "2"`:   get(t, b, origin).Form().Press("b", "2").Fill("a", "still refused"),
		`no button labelled "Go"`:        get(t, b, origin).Form().Click("Go"),
		`2 forms, want one`:              get(t, b, origin+"/two").Form().Fill("x", "1"),
		`0 forms, want one (status 200:`: get(t, b, origin+"/none").Form(),
	}
	for want, form := range tests {
		if _, err := b.Submit(t.Context(), form); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("err = %v, want %q", err, want)
		}
	}
	for _, step := range b.Steps() {
		if step.Method == http.MethodPost {
			t.Errorf("sent %v", step)
		}
	}
}

func TestRedirectsAreFollowed(t *testing.T) {
	redirect := func(status int, to string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Location", to); w.WriteHeader(status) }
	}
	elsewhere := serve(t, map[string]http.HandlerFunc{"/echo": echo})
	origin := serve(t, map[string]http.HandlerFunc{
		"/form/{n}": func(w http.ResponseWriter, r *http.Request) {
			page(`<form method=post action="/go/`+r.PathValue("n")+`"><input name=a value=1></form>`)(w, r)
		},
		"/go/302": redirect(302, "/echo?x=1"), "/go/303": redirect(303, "../echo"),
		"/go/307": redirect(307, "/echo"), "/go/away": redirect(302, elsewhere+"/echo"),
		"/go/meta": page(`<meta http-equiv="Refresh" content="0; URL='/echo'">`),
		"/echo":    echo, "/loop": redirect(302, "/loop"), "/reload": page(`<meta http-equiv=refresh content="5">still here`),
		"/nowhere": redirect(302, ""), "/scheme": redirect(302, "myapp.example:/done"),
	})
	tests := map[string]string{
		"302":  "GET /echo?x=1 body= origin= site=same-origin",
		"303":  "GET /echo body= origin= site=same-origin",
		"307":  "POST /echo body=a=1 origin=" + origin + " site=same-origin",
		"away": "GET /echo body= origin= site=same-site", // another port of this host
		"meta": "GET /echo body= origin= site=same-origin",
	}
	for name, want := range tests {
		t.Run(name, func(t *testing.T) {
			b := browser.New()
			got, err := b.Submit(t.Context(), get(t, b, origin+"/form/"+name).Form())
			if err != nil {
				t.Fatal(err)
			}
			if got.Body != want {
				t.Errorf("arrived as %s\nwant %s", got.Body, want)
			}
			if n := len(b.Steps()); n != 3 {
				t.Errorf("%d steps, want 3: %v", n, b.Steps())
			}
		})
	}
	t.Run("but not for ever", func(t *testing.T) {
		b := browser.New()
		if _, err := b.Get(t.Context(), origin+"/loop"); !errors.Is(err, browser.ErrTooManyHops) {
			t.Errorf("err = %v", err)
		}
		if n := len(b.Steps()); n != browser.MaxHops+1 {
			t.Errorf("%d requests", n)
		}
	})
	t.Run("and not where the page only reloads, or names no place", func(t *testing.T) {
		if p := get(t, browser.New(), origin+"/reload"); p.Text != "still here" {
			t.Errorf("text = %q", p.Text)
		}
		if p := get(t, browser.New(), origin+"/nowhere"); p.Status != 302 {
			t.Errorf("status = %d", p.Status)
		}
	})
	t.Run("StopAt stops before", func(t *testing.T) {
		b := browser.New()
		if _, err := b.Get(t.Context(), origin+"/scheme"); err == nil {
			t.Error("an app's scheme was followed")
		}
		b.StopAt(func(u *url.URL) bool { return u.Scheme == "myapp.example" })
		p := get(t, b, origin+"/scheme")
		if !p.Stopped || p.URL.String() != "myapp.example:/done" || p.Status != 0 {
			t.Errorf("page = %+v", p)
		}
	})
}

func TestCookiesAreKept(t *testing.T) {
	origin := serve(t, map[string]http.HandlerFunc{
		"/set": func(w http.ResponseWriter, _ *http.Request) {
			http.SetCookie(w, &http.Cookie{Name: "here", Value: "1", Path: "/a"})
		},
		"/": func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Header.Get("Cookie")) },
	})
	b := browser.New()
	get(t, b, origin+"/set")
	if p := get(t, b, origin+"/a/b"); p.Body != "here=1" {
		t.Errorf("below its path: %q", p.Body)
	}
	if p := get(t, b, origin+"/b"); p.Body != "" {
		t.Errorf("beside its path: %q", p.Body)
	}
	if p := get(t, browser.New(), origin+"/a/b"); p.Body != "" {
		t.Errorf("in another browser: %q", p.Body)
	}
}

func TestLongPagesAreRefused(t *testing.T) {
	origin := serve(t, map[string]http.HandlerFunc{
		"/fits": page(strings.Repeat("x", browser.MaxPage)), "/long": page(strings.Repeat("x", browser.MaxPage+1)),
	})
	get(t, browser.New(), origin+"/fits")
	if _, err := browser.New().Get(t.Context(), origin+"/long"); !errors.Is(err, browser.ErrPageTooLong) {
		t.Errorf("err = %v", err)
	}
}
