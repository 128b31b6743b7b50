package doctor

import (
	"context"
	"strings"
	"time"

	"github.com/athd/athd/config"
	"github.com/athd/athd/internal/probe"
)

// Config says what can be asked. What it does not name is not asked, and the
// findings say so.
type Config struct {
	// Settings are those of athd.yaml; nil: they are not at hand, and only what
	// can be asked from outside is.
	Settings *config.Settings
	File     string // athd.yaml, as it is named
	// Faults are why athd.yaml gives no Settings, one line each.
	Faults []string

	PublicURL string          // without Settings: athd's; "": not known
	Admin     *config.Address // of athd's admin listener; nil: that of Settings
	Envoy     string          // URL of Envoy's admin pages; "": that of Settings
	Authz     []string        // where Envoy must ask athd; nil: those of Settings

	// Ask asks athd's API of operators. nil: it cannot be asked, and NoAsk is
	// why. Its error may be an [*AskError].
	Ask   func(ctx context.Context, path string, into any) error
	NoAsk string

	Version string           // of this program
	Now     func() time.Time // nil: time.Now
}

// An AskError is why athd's API of operators did not answer, and what to do.
type AskError struct{ Cause, Cure string }

func (e *AskError) Error() string { return e.Cause }

// patience is what one subject may take.
const patience = 15 * time.Second

// A subject is asked beside the others, once those that it needs are done.
type subject struct {
	name  string // that its findings begin with
	title string
	ask   func(*doctor, context.Context, *findings)
	after []string
}

var subjects = []subject{
	{name: "config", title: "the configuration", ask: (*doctor).configuration},
	{name: "redis", title: "Redis", ask: (*doctor).redis},
	{name: "athd", title: "athd", ask: (*doctor).athd},
	{name: "envoy", title: "Envoy", ask: (*doctor).envoy},
	{name: "public", title: "the public URL", ask: (*doctor).public},
	{name: "consent", title: "the consent URL", ask: (*doctor).consent},
	{name: "providers", title: "the providers", ask: (*doctor).providers},
	{name: "runtime", title: "providers that were added while athd runs", ask: (*doctor).runtime},
	{name: "tokens", title: "users' tokens", ask: (*doctor).tokens},
	{name: "streams", title: "long exchanges", ask: (*doctor).streams},
	{name: "renewals", title: "standing consents", ask: (*doctor).renewals},
	{name: "clock", title: "the clocks", ask: (*doctor).clock, after: []string{"redis", "public", "providers"}},
	{name: "operators", title: "the operators", ask: (*doctor).operators},
	{name: "agents", title: "the agents", ask: (*doctor).agents},
	{name: "refusals", title: "the last refusals", ask: (*doctor).refusals, after: []string{"consent"}},
}

// A doctor is one run.
type doctor struct {
	Config
	clocks clocks
	asked  idList // decision ids of what the doctor itself asked
	web    *web
	// elsewhere: the address of Envoy's admin pages is a default, and a mesh runs
	// that Envoy.
	elsewhere bool
	lead      func(context.Context) probe.Lead // where the public URL leads; asked once
}

// Run asks all subjects at once, and calls tell with the findings of each, in
// a fixed order. waiting, if not nil, is called with what is waited for, when
// that takes a while.
func Run(ctx context.Context, c Config, tell func(title string, f []Finding), waiting func(title string)) {
	if c.Now == nil {
		c.Now = time.Now
	}
	elsewhere := false
	if c.Settings != nil {
		c.PublicURL = c.Settings.PublicURL
		if c.Admin == nil && !c.Settings.Admin.AnyPort() {
			a := c.Settings.Admin.Dialable()
			c.Admin = &a
		}
		if at := c.Settings.Envoy.Admin; c.Envoy == "" && at != "" && !strings.HasSuffix(at, ":0") {
			c.Envoy = "http://" + dialable(at)
			elsewhere = c.Settings.Envoy.Destination == config.DestinationByHostAndPath
		}
		if c.Authz == nil {
			for _, a := range c.Settings.Envoy.GRPC {
				c.Authz = append(c.Authz, a.String())
			}
		}
	}
	d := &doctor{Config: c, web: newWeb(), elsewhere: elsewhere}
	d.lead = d.leadOnce()
	done, results := map[string]chan struct{}{}, map[string]*findings{}
	for _, s := range subjects {
		done[s.name], results[s.name] = make(chan struct{}), &findings{subject: s.name}
	}
	for _, s := range subjects {
		go func() {
			defer close(done[s.name])
			for _, other := range s.after {
				<-done[other]
			}
			within, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			if len(d.Faults) > 0 && s.name != "config" {
				results[s.name].notAsked("all", s.title, "the configuration cannot be loaded", "correct what is said of it above")
				return
			}
			s.ask(d, within, results[s.name])
		}()
	}
	for _, s := range subjects {
		slow := time.NewTimer(time.Second)
		select {
		case <-done[s.name]:
		case <-slow.C:
			if waiting != nil {
				waiting(s.title)
			}
			<-done[s.name]
		}
		slow.Stop()
		tell(s.title, results[s.name].all)
	}
}

// dialable is an address that Envoy listens on, as this machine reaches it.
func dialable(hostPort string) string {
	a, err := config.ParseAddress(hostPort)
	if err != nil {
		return hostPort
	}
	return a.Dialable().At
}

const withoutFile = "that needs athd.yaml and what it names: athctl doctor --config athd.yaml, where athd runs"
