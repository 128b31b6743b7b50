package shop

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

const (
	events        = 3
	eventInterval = 100 * time.Millisecond
)

// streamEvents sends three server-sent events, one every 100 ms, the first
// at once: for seeing that a reply arrives as it is written. With ?follow it goes
// on until the caller leaves, or is made to.
func (s *Shop) streamEvents(w http.ResponseWriter, r *http.Request, _ string) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	flow := http.NewResponseController(w)
	follow := r.URL.Query().Has("follow")
	all := products()
	for i := 0; i < events || follow; i++ {
		if i > 0 {
			select {
			case <-r.Context().Done():
				return
			case <-time.After(eventInterval):
			}
		}
		if _, err := fmt.Fprintf(w, "id: %d\nevent: offer\ndata: %s\n\n", i+1, all[i%len(all)].ID); err != nil {
			return
		}
		if err := flow.Flush(); err != nil {
			return
		}
	}
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value) // the client has gone; nobody is left to tell
}

func writeError(w http.ResponseWriter, status int, code, message string) {
	writeJSON(w, status, map[string]string{"error": code, "message": message})
}
