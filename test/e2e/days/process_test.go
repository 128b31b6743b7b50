package days

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/client"
)

// processEnv names the file that tells a process of an agent what it is.
const processEnv = "ATHD_DAYS_PROCESS"

// A brief is what a process of an agent knows. All of them share one renewal.
type brief struct {
	Public, API   string
	ID, Key       string
	ClientID      string
	Secret        string
	Token, Bought string // an ATH token, and the renewal
	Began         time.Time
	Hour          time.Duration
	Days          int
}

// An account is what a process prints when it ends.
type account struct {
	Calls, Failed, Renewals int
	Again                   int    // times that a call was made again, since the provider took its time
	First                   string // what failed first
	Slowest                 time.Duration
	AfterRests              int // calls that came after 20 days of silence
}

// process is one process of an agent: it calls each working hour, and lets the client
// renew.
func process(path string) int {
	var b brief
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &b)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	access, err := b.access()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer access.CloseIdleConnections()
	account := b.work(&http.Client{Transport: access, Timeout: 10 * time.Second}, access)
	if err := json.NewEncoder(os.Stdout).Encode(account); err != nil {
		return 1
	}
	return 0
}

// access is the Go client's, which renews by itself.
func (b *brief) access() (*client.Access, error) {
	key, err := client.DecodeKey(ath.NewSecret(b.Key))
	if err != nil {
		return nil, err
	}
	id, err := client.NewIdentity(b.ID, "Worker", key)
	if err != nil {
		return nil, err
	}
	c, err := client.New(client.Config{Server: b.Public, Agent: id, InsecureHTTP: true, Credentials: client.Credentials{ClientID: b.ClientID, Secret: ath.NewSecret(b.Secret)}})
	if err != nil {
		return nil, err
	}
	return c.Access(client.AccessConfig{API: b.API, Token: client.Token{
		Access: ath.NewSecret(b.Token), AgentID: b.ID, Provider: "shop", Expires: b.Began.Add(b.Hour), Renewal: ath.NewSecret(b.Bought),
	}})
}

func (b *brief) work(h *http.Client, access *client.Access) (a account) {
	last, token := 0, access.Token().Access.Reveal()
	for hour := 1; hour < 24*b.Days; hour++ {
		// Each process at another moment of the hour, as cron jobs with jitter are.
		time.Sleep(time.Until(b.Began.Add(time.Duration(hour)*b.Hour + rand.N(b.Hour/2))))
		if !works(hour/24, hour%24) && b.Days > 1 {
			continue
		}
		if hour-last > 19*24 && last > 0 {
			a.AfterRests++
		}
		last = hour
		began := time.Now()
		again, err := patiently(h, b.API+"/products")
		a.Calls++
		a.Again += again
		a.Slowest = max(a.Slowest, time.Since(began))
		if err != nil {
			if a.Failed++; a.First == "" {
				a.First = fmt.Sprintf("day %d, hour %d: %v", hour/24, hour%24, err)
			}
		}
		if now := access.Token().Access.Reveal(); now != token {
			a.Renewals++
			token = now
		}
	}
	return a
}

// patiently calls again where athd says that the provider takes its time (503): it
// waits for 400 ms, which are minutes here and not on the machine. So it does where a
// busy machine has no time for a decision, for which Envoy waits a second.
func patiently(h *http.Client, url string) (again int, err error) {
	for end := time.Now().Add(30 * time.Second); ; again++ {
		err = get(h, url)
		if code := client.CodeOf(err); code != ath.OAuthError && code != ath.InternalError || time.Now().After(end) {
			return again, err
		}
		time.Sleep(500 * time.Millisecond)
	}
}

func get(h *http.Client, url string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	reply, err := h.Do(r)
	if err != nil {
		return err
	}
	reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		return errors.New(reply.Status)
	}
	return nil
}

// works says when an agent does: not at weekends, for nine hours of a day, and twice
// not for 20 days.
func works(today, hour int) bool {
	silent := today >= 20 && today < 40 || today >= 55 && today < 75
	return today%7 < 5 && !silent && hour < 9
}
