package config

import (
	"github.com/athd/athd/athflow"
	"github.com/athd/athd/attest"
)

// operator reads who runs this athd, as users are told.
func (l *loader) operator() {
	c := l.c.Operator
	if c.Name != "" {
		if err := attest.CheckName(c.Name); err != nil {
			l.Fail(err.Error(), "operator", "name")
		}
		l.s.Operator.Name = c.Name
	}
	if c.Contact == "" {
		return
	}
	var err error
	if l.s.Operator.Contact, err = athflow.ParseContact(c.Contact); err != nil {
		l.Fail(err.Error(), "operator", "contact")
	}
}
