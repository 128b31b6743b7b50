package doctor

import (
	"fmt"

	"github.com/athd/athd/internal/cli"
)

// A Status is what came of a question.
type Status string

// The statuses. A fault keeps something from working, a warning may.
const (
	OK       Status = "ok"
	Warning  Status = "warning"
	Fault    Status = "fault"
	NotAsked Status = "not asked"
)

// A Finding is one question and what came of it.
type Finding struct {
	ID     string `json:"id"` // subject and question: redis.login
	Status Status `json:"status"`
	Asked  string `json:"asked"`           // what was asked, or was to be
	Found  string `json:"found,omitempty"` // of ok
	Cause  string `json:"cause,omitempty"` // of a fault or a warning; of what was not asked: why
	Cure   string `json:"cure,omitempty"`  // a command, or a line of a configuration
}

// maxText bounds each text of a finding, in characters.
const maxText = 700

// findings are those of one subject.
type findings struct {
	subject string
	all     []Finding
}

func (f *findings) add(id string, status Status, asked, found, cause, cure string) {
	id = f.subject + "." + id
	one := Finding{ID: id, Status: status}
	for to, text := range map[*string]string{&one.ID: id, &one.Asked: asked, &one.Found: found, &one.Cause: cause, &one.Cure: cure} {
		*to = cli.Printable(text, maxText)
	}
	f.all = append(f.all, one)
}

func (f *findings) ok(id, asked, found string)           { f.add(id, OK, asked, found, "", "") }
func (f *findings) warn(id, asked, cause, cure string)   { f.add(id, Warning, asked, "", cause, cure) }
func (f *findings) fault(id, asked, cause, cure string)  { f.add(id, Fault, asked, "", cause, cure) }
func (f *findings) notAsked(id, asked, why, cure string) { f.add(id, NotAsked, asked, "", why, cure) }

func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
