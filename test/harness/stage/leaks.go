package stage

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/athd/athd/internal/browser"
)

// gather adds the secrets that a user's browser has seen to those that are
// looked for.
func (s *Stage) gather(b *browser.Browser, page *browser.Page) {
	s.watch.Text(page.Body)
	for _, step := range b.Steps() {
		s.watch.Text(step.URL)
		s.watch.Text(step.Location)
	}
	if u, err := url.Parse(s.ConsentURL + "/ath/"); err == nil {
		for _, c := range b.Cookies(u) {
			s.watch.Secret("a cookie "+c.Name, c.Value)
		}
	}
}

// findLeaks fails the test if a secret that passed through this stage stands in
// Redis, in a log, a metric, a reply to an operator or a refusal. athd's own log
// is looked at when athd has ended.
func (s *Stage) findLeaks() {
	s.watch.Secret("athd's client secret", Secret)
	s.watch.Secret("the operator's token", AdminKey)
	for _, issued := range s.OAuth.Issued() {
		s.watch.Secret("a code or token of the OAuth server", issued)
	}
	places := map[string][]byte{"Envoy's log": []byte(s.Envoy.Log())}
	if s.accessLogOf == "" {
		places["Envoy's access log"] = []byte(strings.Join(s.Envoy.AccessLog(), "\n"))
	}
	if _, metrics := s.Athd.Get("/metrics"); metrics != "" {
		places["metrics"] = []byte(metrics)
	}
	for _, path := range []string{"/ath/admin/agents", "/ath/admin/connections", "/ath/admin/refusals", "/ath/admin/streams", "/ath/admin/providers"} {
		places["the reply of "+path] = s.askAdmin(path)
	}
	if s.Redis != nil && s.redisAnswers() {
		for key, value := range s.Redis.Dump(s.t) {
			places["Redis key "+key] = []byte(key)
			places["Redis value of "+key] = value
		}
	}
	s.watch.Check(s.t, places)
}

// askAdmin asks athd what an operator may; nothing comes back if the test has
// ended athd.
func (s *Stage) askAdmin(path string) []byte {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.http+path, nil)
	if err != nil {
		return nil
	}
	req.Host = s.Host()
	req.Header.Set("X-ATH-User-Token", AdminKey)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusUnauthorized {
		s.t.Errorf("%s answers its operator with %d", path, resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil
	}
	return body
}

// redisAnswers says whether Redis is there: some tests end it, or stop it.
func (s *Stage) redisAnswers() bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	client := s.Redis.Client()
	return client.Ping(ctx).Err() == nil
}
