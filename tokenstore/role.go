package tokenstore

import (
	"context"
	"errors"
	"strings"

	"github.com/redis/go-redis/v9"
)

// How a server proves, within a batch, that it is a master. WAIT for nobody
// answers at once with a number, and with an error on every replica. It reads
// and writes nothing, so that it works with a full disk and full memory. An ACL
// from before athd used it may not allow it: then a key is deleted that is not
// there, which a replica refuses, unless it is a writable one, or cannot write to
// its disk.
const (
	byWait int32 = iota
	byDelete
)

// roleKey is a key that nobody writes.
const roleKey = "ath:role"

// errNoProof: the ACL no longer allows this proof.
var errNoProof = errors.New("the server would not say whether it is a master")

// A notMasterError says that the server that answered is no master, so that it
// may not know what was revoked (V-4).
type notMasterError struct{ name, role string }

func (e *notMasterError) Error() string { return "the server at " + e.name + " is a " + e.role }

func isNotMaster(err error) bool {
	_, ok := errors.AsType[*notMasterError](err)
	return ok
}

// prove adds the proof to a batch.
func prove(ctx context.Context, batch redis.Pipeliner, how int32) redis.Cmder {
	if how == byDelete {
		return batch.Del(ctx, roleKey)
	}
	return batch.Do(ctx, waitForNobody...)
}

var waitForNobody = []any{"WAIT", 0, 0}

// judge evaluates the answer to the proof.
func (v *server) judge(err error, how int32) error {
	switch {
	case err == nil:
		return nil
	case isReplicaReply(err):
		return &notMasterError{v.name, "replica"}
	case how == byWait && isForbidden(err):
		v.probe.Store(byDelete)
		return errNoProof
	case how == byDelete && (hasCode(err, "MISCONF") || hasCode(err, "NOREPLICAS")):
		return nil // NOREPLICAS comes from masters only; for MISCONF see byDelete
	}
	return err
}

// isReplicaReply reports whether only a replica answers like this.
func isReplicaReply(err error) bool {
	return hasCode(err, "READONLY") || isReply(err) && strings.Contains(err.Error(), "WAIT cannot be used with replica")
}

// isForbidden reports whether the server does not run a command for us at all:
// because of its ACL, or because it has no such command.
func isForbidden(err error) bool {
	return hasCode(err, "NOPERM") || isReply(err) && strings.Contains(strings.ToLower(err.Error()), "unknown command")
}

// hasCode reports whether a server's error has this code.
func hasCode(err error, code string) bool {
	reply, ok := errors.AsType[redis.Error](err)
	return ok && (reply.Error() == code || strings.HasPrefix(reply.Error(), code+" "))
}

// meet runs on each new connection: a replica is refused, and where the address
// leads to another server than before, the older connections are closed.
func (v *server) meet(ctx context.Context, of *link, conn *redis.Conn) error {
	runID, err := v.identify(ctx, conn)
	if err != nil || runID == "" {
		return err
	}
	if before := of.runID.Swap(&runID); before != nil && *before != runID {
		go v.leaveOld(of)
	}
	return nil
}

// identify asks a server whether it is a master, in any way that its ACL allows,
// and which server it is; runID is "" if INFO is not allowed. A Sentinel passes:
// the client calls this for Sentinels too.
func (v *server) identify(ctx context.Context, conn *redis.Conn) (runID string, err error) {
	batch := conn.Pipeline()
	role := batch.Do(ctx, "ROLE")
	wait := batch.Do(ctx, waitForNobody...)
	info := batch.Do(ctx, "INFO", "server")
	if err := exec(ctx, batch); err != nil {
		return "", err
	}
	answer, err := role.Slice()
	switch {
	case err == nil && len(answer) > 0 && answer[0] == "sentinel":
		return "", nil
	case err == nil && len(answer) > 0 && answer[0] != "master":
		return "", &notMasterError{v.name, "replica"}
	case err != nil && !isForbidden(err):
		return "", err
	}
	switch err := wait.Err(); {
	case err == nil:
		v.probe.Store(byWait)
	case isReplicaReply(err):
		return "", &notMasterError{v.name, "replica"}
	case !isForbidden(err):
		return "", err
	default:
		v.probe.Store(byDelete)
		if role.Err() == nil {
			break
		}
		if err := v.judge(conn.Del(ctx, roleKey).Err(), byDelete); err != nil {
			return "", err
		}
	}
	facts, _ := info.Text() // "" where it may not be asked
	for line := range strings.Lines(facts) {
		if id, ok := strings.CutPrefix(strings.TrimSpace(line), "run_id:"); ok {
			runID = id
		}
	}
	return runID, nil
}
