package agentcli

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/attest"
	"github.com/athd/athd/client"
	"github.com/athd/athd/internal/cli"
	"github.com/athd/athd/internal/remote"
)

// An advisedRefusal is a server's refusal, with what the agent's author can do
// about it.
type advisedRefusal struct {
	*serverError
	renewal bool // it is a renewal that was refused for good
}

type serverError = client.Error // under a name that is not the method's

func (r advisedRefusal) Unwrap() error { return r.serverError }

func (r advisedRefusal) Error() string {
	if r.Code == "" {
		return fmt.Sprintf("the server answered %d, but not as athd does\nnext: %s", r.Status, r.next())
	}
	text := fmt.Sprintf("%s (%d): %s", cli.Printable(string(r.Code), 60), r.Status, cli.Printable(r.Message, 500))
	if field := r.detail("field"); field != "" {
		text += " (field " + cli.Printable(field, 100) + ")"
	}
	if r.DecisionID != "" {
		text += " [" + cli.Printable(r.DecisionID, 60) + "]"
	}
	return text + "\nnext: " + r.next()
}

// next is the advice for the code, with what the details add to it.
func (r advisedRefusal) next() string {
	code, reason := r.Code, r.detail("reason")
	known, is := advices()[code]
	fix := known.fix
	if !is {
		fix = "check that --server is athd's public URL, and that Envoy and athd run there"
	}
	if why, is := reasons()[attest.Reason(reason)]; is && (code == ath.InvalidAttestation || attest.Reason(reason) == attest.Unreachable) {
		fix = why.fix
	}
	switch {
	case code == ath.InvalidRequest && r.detail("field") == "agent_id":
		fix = "an agent_id is an https URL, its host in canonical form; for one with http on your own machine, as --serve makes it, athd.yaml needs `development: {allow_http: true, allow_private_hosts: true}`"
	case code == ath.InvalidRequest && r.detail("field") != "":
		fix = "fix the field " + cli.Printable(r.detail("field"), 100)
	case len(r.list("expected_audience")) > 0:
		fix = "the server wants aud to be " + strings.Join(r.list("expected_audience"), " or ") + "; " + fix
	case code == ath.Conflict && r.detail("client_id") != "":
		fix = "its client_id is " + cli.Printable(r.detail("client_id"), 60) + "; " + fix
	case len(r.list("unapproved_scopes")) > 0:
		fix = "not approved: " + strings.Join(r.list("unapproved_scopes"), " ") + "; " + fix
	case r.detail("agent_status") != "":
		fix = "it is " + cli.Printable(r.detail("agent_status"), 20) + "; " + fix
	case remote.ByEnvoy(r.DecisionID) && r.Status == http.StatusServiceUnavailable && strings.Contains(r.Message, "athd"):
		fix = "it is Envoy that answers, since athd is away or late: try again; if it stays, tell the operator the id, which is in Envoy's access log"
	case remote.ByEnvoy(r.DecisionID) && r.Status == http.StatusServiceUnavailable:
		fix = "it is Envoy that answers: the API behind it is away, not athd; try again; if it stays, tell the operator the id, which is in Envoy's access log"
	case r.renewal:
		fix = "the token cannot be renewed any more: authorize again"
	case reason == "reauthorization_required" && r.detail("authorization_url") != "":
		fix = "the user's grant at the provider has ended: athctl try call shows the user a link, and waits; or authorize again"
	case reason == "reauthorization_required":
		fix = "the user's grant at the provider has ended: authorize again"
	case attest.Reason(reason) == attest.Unreachable:
	case r.RetryAfter > 0 && (r.Status == http.StatusServiceUnavailable || r.Status == http.StatusTooManyRequests):
		fix = fmt.Sprintf("try again in %d s", int(r.RetryAfter.Seconds()))
	}
	return strings.ReplaceAll(fix, "`", "")
}

func (r advisedRefusal) detail(name string) string {
	s, _ := r.Details[name].(string)
	return s
}

// list is a list of texts among the details, each once, fit to be shown.
func (r advisedRefusal) list(name string) []string {
	var out []string
	items, _ := r.Details[name].([]any)
	for _, item := range items[:min(len(items), 20)] {
		if s, ok := item.(string); ok {
			out = append(out, cli.Printable(s, 300))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// advised adds to an error of the client what can be done about it.
func advised(err error) error {
	if e, ok := errors.AsType[*client.LinkError](err); ok { // not as a refusal: its link must not be printed
		return fmt.Errorf("the refusal has a link that does not lead to %s, where the server asks its users: it is not shown\nnext: tell the operator; do not open what an API sends", e.Origin)
	}
	if e, ok := errors.AsType[*client.NotApprovedError](err); ok {
		return fmt.Errorf("the operator has not approved the agent for %s: it is %s\nnext: the operator decides, with athctl agents approve; athctl try status shows when",
			cli.Printable(strings.Join(e.Scopes, " "), 500), cli.Printable(e.Status, 20))
	}
	if r, ok := errors.AsType[*client.Error](err); ok {
		if _, is := errors.AsType[advisedRefusal](err); !is {
			_, renewal := errors.AsType[*client.RenewalError](err)
			return advisedRefusal{r, renewal}
		}
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		return fmt.Errorf("%s cannot be asked: %w\nnext: check --server, and that Envoy and athd run there", cli.Printable(u.URL, 300), u.Err)
	}
	if err != nil && strings.HasPrefix(err.Error(), clientPrefix) {
		return ofClient{err}
	}
	return err
}

const clientPrefix = "client: "

// An ofClient is an error of package client, in athctl's own words.
type ofClient struct{ error }

func (e ofClient) Error() string { return strings.TrimPrefix(e.error.Error(), clientPrefix) }
func (e ofClient) Unwrap() error { return e.error }

// A fault is an error, for programs.
type fault struct {
	Code    string         `json:"code,omitempty"`
	Message string         `json:"message"`
	Status  int            `json:"status,omitempty"`
	Details map[string]any `json:"details,omitempty"`
	Next    string         `json:"next,omitempty"`
}

func faultOf(err error) *fault {
	if r, ok := errors.AsType[advisedRefusal](err); ok {
		return &fault{Code: string(r.Code), Message: r.Message, Status: r.Status, Details: r.Details, Next: r.next()}
	}
	message, next, _ := strings.Cut(err.Error(), "\nnext: ")
	return &fault{Message: message, Next: next}
}
