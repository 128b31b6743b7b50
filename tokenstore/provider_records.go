package tokenstore

import (
	"errors"
	"fmt"
	"time"

	"github.com/athd/athd/ath"
	"github.com/athd/athd/provider"
)

const (
	// providerKind is of providers that operators add while athd runs, all in one slot,
	// each below the tag that follows from its id.
	providerKind kind = "provider"
	// providersKind is the index of their tags; it holds generations and is not sealed.
	providersKind kind = "providers"
	// generationKind is the last generation that was given out, and is not sealed.
	generationKind kind = "generation"
)

// providersSlot is what all of their keys begin with.
const providersSlot = "ath:{providers}:"

const (
	providersIndex      = providersSlot + string(providersKind)
	providersGeneration = providersSlot + string(generationKind)
)

// MaxRuntimeProviders bounds them, and MaxProviderConfig the JSON of one, in bytes.
const (
	MaxRuntimeProviders = 20_000
	MaxProviderConfig   = provider.MaxBytes
	// MaxFormer is how many configurations of before one keeps until all connections
	// of theirs have ended: who changes it more often waits.
	MaxFormer = 3
)

// A ProviderState says what becomes of a provider.
type ProviderState string

const (
	// ProviderActive serves.
	ProviderActive ProviderState = ""
	// ProviderDraining serves nobody any more: its connections are being ended, and
	// then it goes.
	ProviderDraining ProviderState = "draining"
)

// A RuntimeProvider is a provider that an operator added while athd runs.
type RuntimeProvider struct {
	ID string `json:"id"`
	// Config is its fields as JSON, as they were given, with its secret. Of a provider
	// that drains and was of a file it is empty: nobody has what the file said.
	Config ath.Secret `json:"-"`
	// Former are configurations of before whose connections are still being ended, the
	// oldest first: what athd got there is revoked there, and with that client.
	Former []FormerConfig `json:"-"`
	State  ProviderState  `json:"state,omitzero"`
	// Left is, of one that drains, how many connections there were at the last look and
	// how many of those that ended are yet to be revoked.
	Left int `json:"left,omitzero"`
	// Generation is that of the last write to any of them: each has a higher one,
	// also after one was removed.
	Generation uint64    `json:"gen"`
	Created    time.Time `json:"at"`
	CreatedBy  string    `json:"by,omitzero"` // an operator's name
	Changed    time.Time `json:"changed,omitzero"`
	ChangedBy  string    `json:"changed_by,omitzero"`
}

// A FormerConfig is what a provider was before it was changed.
type FormerConfig struct {
	Config ath.Secret `json:"-"`
	Until  time.Time  `json:"until"` // it was replaced then
}

// ProviderTag is that of a run-time provider's record, and of [ProviderChanged].
func ProviderTag(id string) ath.Tag { return ath.AgentTag("provider\x00" + id) }

func providerKey(tag ath.Tag) (string, error) {
	if _, err := ath.ParseTag(string(tag)); err != nil {
		return "", errNoTag
	}
	return providersSlot + string(providerKind) + ":" + string(tag), nil
}

type storedProvider struct {
	RuntimeProvider
	Config string         `json:"config,omitzero"`
	Former []storedFormer `json:"former,omitempty"`
}

type storedFormer struct {
	FormerConfig
	Config string `json:"config"`
}

func encodeProvider(p RuntimeProvider, x extra) ([]byte, error) {
	switch {
	case p.ID == "":
		return nil, errors.New("a provider has no id")
	case len(p.Config.Reveal()) > MaxProviderConfig:
		return nil, fmt.Errorf("the provider is longer than %d bytes", MaxProviderConfig)
	case len(p.Former) > MaxFormer:
		return nil, errors.New("the provider was changed too often while connections of before are ended")
	}
	p.Created, p.Changed = p.Created.UTC(), p.Changed.UTC()
	out := storedProvider{RuntimeProvider: p, Config: p.Config.Reveal()}
	for _, f := range p.Former {
		f.Until = f.Until.UTC()
		out.Former = append(out.Former, storedFormer{f, f.Config.Reveal()})
	}
	return encode(stored[storedProvider]{out, x})
}

func decodeProvider(record []byte) (RuntimeProvider, extra, error) {
	in, x, err := decodeOne[storedProvider](providerKind, record)
	if err != nil {
		return RuntimeProvider{}, nil, err
	}
	p := in.RuntimeProvider
	switch {
	case p.ID == "":
		return RuntimeProvider{}, nil, fmt.Errorf("%w: the %s record has no id", ErrCorrupt, providerKind)
	case p.Left < 0, p.State != ProviderActive && p.State != ProviderDraining:
		return RuntimeProvider{}, nil, fmt.Errorf("%w: the %s record has a state that this athd does not know", ErrCorrupt, providerKind)
	case len(in.Config) > MaxProviderConfig || len(in.Former) > MaxFormer:
		return RuntimeProvider{}, nil, fmt.Errorf("%w: the %s record is longer than any that we wrote", ErrCorrupt, providerKind)
	}
	p.Config = ath.NewSecret(in.Config)
	for _, f := range in.Former {
		f.FormerConfig.Config = ath.NewSecret(f.Config)
		p.Former = append(p.Former, f.FormerConfig)
	}
	return p, x, nil
}

func (s *Store) openProvider(key, raw string) (RuntimeProvider, extra, error) {
	plain, err := s.open(providerKind, key, raw)
	if err != nil {
		return RuntimeProvider{}, nil, err
	}
	p, x, err := decodeProvider(plain)
	if err != nil {
		s.unreadable(string(providerKind), key)
		return RuntimeProvider{}, nil, err
	}
	if of, _ := providerKey(ProviderTag(p.ID)); of != key {
		s.unreadable(string(providerKind), key)
		return RuntimeProvider{}, nil, fmt.Errorf("%w: the %s record is of another id", ErrCorrupt, providerKind)
	}
	return p, x, nil
}
