package api

// A Readiness is the answer of GET /readyz on the admin listener: whether
// requests should come to this athd.
type Readiness struct {
	Status   string                    `json:"status"` // StatusReady, StatusNotReady or StatusDraining
	Version  string                    `json:"version,omitempty"`
	Checks   map[string]ReadinessCheck `json:"checks"`
	Warnings []string                  `json:"warnings"`
}

// What a Readiness may say.
const (
	StatusReady    = "ready"
	StatusNotReady = "not_ready"
	StatusDraining = "draining"
)

// A ReadinessCheck is one part of it.
type ReadinessCheck struct {
	OK         bool   `json:"ok"`
	Server     string `json:"server,omitempty"`
	Persistent *bool  `json:"persistent,omitempty"`
	Error      string `json:"error,omitempty"`

	// Of the configuration: replicas with the same files have the same one.
	Digest string `json:"digest,omitempty"`

	// Of the change feed.
	Mode       string   `json:"mode,omitempty"` // notify or compare
	Generation *uint64  `json:"generation,omitempty"`
	LagSeconds *float64 `json:"lag_seconds,omitempty"`
}

// Missing names what keeps athd from being ready, "" if nothing does.
func (r *Readiness) Missing() string {
	if r.Status == StatusReady {
		return ""
	}
	out := "not ready"
	if r.Status == StatusDraining {
		out = r.Status
	}
	for _, name := range []string{"store", "grpc", "http"} {
		switch c := r.Checks[name]; {
		case c.OK:
		case c.Error != "":
			out += "; " + c.Error
		default:
			out += "; " + name + " does not serve"
		}
	}
	return out
}
