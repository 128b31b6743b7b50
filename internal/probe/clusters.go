package probe

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strconv"
)

// A Cluster is one of Envoy's, and whom it finds there.
type Cluster struct {
	Name  string
	Hosts []Host
}

// A Host is an address of a cluster. Why says why Envoy asks it in need only; "": it
// is healthy.
type Host struct{ Address, Why string }

// Clusters asks an Envoy's admin pages for its clusters, as [Dump] asks for its
// configuration.
func Clusters(ctx context.Context, admin string) ([]Cluster, error) {
	text, err := page(ctx, admin, "/clusters?format=json")
	if err != nil {
		return nil, err
	}
	var body struct {
		Statuses []struct {
			Name  string `json:"name"`
			Hosts []struct {
				Address struct {
					Socket struct {
						Address string `json:"address"`
						Port    int    `json:"port_value"`
					} `json:"socket_address"`
					Pipe struct {
						Path string `json:"path"`
					} `json:"pipe"`
				} `json:"address"`
				Health struct {
					FailedCheck bool `json:"failed_active_health_check"`
					Outlier     bool `json:"failed_outlier_check"`
					Degraded    bool `json:"failed_degraded_outlier_detection"`
				} `json:"health_status"`
			} `json:"host_statuses"`
		} `json:"cluster_statuses"`
	}
	if err := json.Unmarshal(text, &body); err != nil {
		return nil, &DumpError{admin + " says nothing of clusters that can be read", "check that --envoy is Envoy's admin address"}
	}
	var out []Cluster
	for _, s := range body.Statuses {
		c := Cluster{Name: s.Name}
		for _, h := range s.Hosts {
			one := Host{Address: net.JoinHostPort(h.Address.Socket.Address, strconv.Itoa(h.Address.Socket.Port))}
			if h.Address.Pipe.Path != "" {
				one.Address = "unix:" + h.Address.Pipe.Path
			}
			switch {
			case h.Health.FailedCheck:
				one.Why = "it does not answer that it is healthy"
			case h.Health.Outlier, h.Health.Degraded:
				one.Why = "its answers failed"
			}
			c.Hosts = append(c.Hosts, one)
		}
		out = append(out, c)
	}
	return out, nil
}

// String is for people.
func (h Host) String() string { return fmt.Sprintf("%s (%s)", h.Address, h.Why) }
