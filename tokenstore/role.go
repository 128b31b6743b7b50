package tokenstore

import (
	"context"
	"errors"
	"strings"

	"github.com/redis/go-redis/v9"
)

// How a server proves, within a batch, that it is a master. WAIT for nobody
// answers at once with a number, and with an error on every replica. It reads
// and writes nothing, so that neither a full disk nor full memory stands in its
// way. An ACL of before athd used it may not allow it: then a key is deleted
// that is not there, which a replica refuses, unless it is one that may be
// written to, or cannot write to its disk.
const (
	byWait int32 = iota
	byDelete
)

// neverThere is a key that nobody writes.
const neverThere = "ath:role"

// errNoProof: the proof may not be asked for in this way any more.
var errNoProof = errors.New("the server would not say whether it is a master")

// A notMasterError says that who answered is no master, so that it may not know
// what was revoked (V-4).
type notMasterError struct{ name, role string }

func (e *notMasterError) Error() string { return "the server at " + e.name + " is a " + e.role }

func isNotMaster(err error) bool {
	_, ok := errors.AsType[*notMasterError](err)
	return ok
}

// prove adds the proof to a batch.
func prove(ctx context.Context, batch redis.Pipeliner, how int32) redis.Cmder {
	if how == byDelete {
		return batch.Del(ctx, neverThere)
	}
	return batch.Do(ctx, waitForNobody...)
}

var waitForNobody = []any{"WAIT", 0, 0}

// judge reads what the proof was answered with.
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
		return nil // only a master is asked whether it has replicas enough; see byDelete for the other
	}
	return err
}

// isReplicaReply reports whether only a replica answers like this.
func isReplicaReply(err error) bool {
	return hasCode(err, "READONLY") || isReply(err) && strings.Contains(err.Error(), "WAIT cannot be used with replica")
}

// isForbidden reports whether the server would not run a command for us,
// whatever it is: by its ACL, or because it knows none of this name.
func isForbidden(err error) bool {
	return hasCode(err, "NOPERM") || isReply(err) && strings.Contains(strings.ToLower(err.Error()), "unknown command")
}

// hasCode reports whether a server's error begins with this word.
func hasCode(err error, code string) bool {
	reply, ok := errors.AsType[redis.Error](err)
	return ok && (reply.Error() == code || strings.HasPrefix(reply.Error(), code+" "))
}

// meet is run on each new connection: with a replica nobody talks, and where
// the address leads to another server than before, the older connections end.
func (v *server) meet(ctx context.Context, of *link, conn *redis.Conn) error {
	runID, err := v.introduce(ctx, conn)
	if err != nil || runID == "" {
		return err
	}
	if before := of.runID.Swap(&runID); before != nil && *before != runID {
		go v.leaveOld(of)
	}
	return nil
}

// introduce asks a server whether it is a master, in any way that it allows,
// and which one; runID is "" if it would not say. A Sentinel is as good as a
// master: the client asks it of them too.
func (v *server) introduce(ctx context.Context, conn *redis.Conn) (runID string, err error) {
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
		if err := v.judge(conn.Del(ctx, neverThere).Err(), byDelete); err != nil {
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
