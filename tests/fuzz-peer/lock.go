package main

import (
	"encoding/json"
	"time"
)

// kured's module cannot be had from every Go proxy, so these are not its types but ours of the same shape: the fields, their names and Go's
// types are those of kubereboot/kured, pkg/daemonsetlock/daemonsetlock.go. What encoding/json makes of them is kured's behaviour.

type entry struct {
	NodeID   string   `json:"nodeID"`
	Metadata metadata `json:"metadata,omitempty"`
	// A text that is no RFC 3339 is an error.
	Created time.Time `json:"created"`
	// Nanoseconds.
	TTL time.Duration `json:"TTL"`
}

type metadata struct {
	Unschedulable bool `json:"unschedulable"`
}

type list struct {
	MaxOwners int     `json:"maxOwners"`
	Locks     []entry `json:"locks"`
}

type lockQuestion struct {
	Text string    `json:"text"`
	Now  time.Time `json:"now"`
}

type lockAnswer struct {
	// What a kured with one owner reads, and what one with several does.
	Single reading `json:"single"`
	Multi  reading `json:"multi"`
}

type reading struct {
	// Why it cannot be read; empty if it can.
	Error   string        `json:"error"`
	Entries []entryAnswer `json:"entries"`
	// The same, as kured writes it.
	Rewritten string `json:"rewritten"`
}

type entryAnswer struct {
	Node          string    `json:"node"`
	Unschedulable bool      `json:"unschedulable"`
	Created       time.Time `json:"created"`
	TTL           int64     `json:"ttl"`
	IsExpired     bool      `json:"is_expired"`
}

func readLock(question lockQuestion) lockAnswer {
	return lockAnswer{Single: readSingle(question), Multi: readMulti(question)}
}

func readSingle(question lockQuestion) reading {
	var value entry
	if err := json.Unmarshal([]byte(question.Text), &value); err != nil {
		return unreadable(err)
	}
	return rewritten(value, []entry{value}, question.Now)
}

func readMulti(question lockQuestion) reading {
	var value list
	if err := json.Unmarshal([]byte(question.Text), &value); err != nil {
		return unreadable(err)
	}
	return rewritten(value, value.Locks, question.Now)
}

func unreadable(why error) reading {
	return reading{Error: why.Error(), Entries: []entryAnswer{}}
}

func rewritten(value any, entries []entry, now time.Time) reading {
	answer := reading{Entries: []entryAnswer{}}
	for _, entry := range entries {
		answer.Entries = append(answer.Entries, entryAnswer{
			Node:          entry.NodeID,
			Unschedulable: entry.Metadata.Unschedulable,
			Created:       entry.Created,
			TTL:           int64(entry.TTL),
			IsExpired:     isExpired(entry, now),
		})
	}
	text, err := json.Marshal(value)
	if err != nil {
		return unreadable(err)
	}
	answer.Rewritten = string(text)
	return answer
}

// isExpired says whether time has ended the entry: its own TTL, where it has one. A kured with --lock-ttl judges an entry without one by that.
func isExpired(entry entry, now time.Time) bool {
	return entry.TTL > 0 && now.Sub(entry.Created) >= entry.TTL
}
