package audit

import (
	"jail/sandbox/audit/check"
)

// An Outcome is what a check says of the sandbox.
type Outcome string

// The outcomes.
const (
	Held    Outcome = "held"    // it goes through outside and not inside
	Failed  Outcome = "failed"  // it goes through inside, and nothing in the profile means it to
	Granted Outcome = "granted" // it goes through inside, and the profile means it to
	Nothing Outcome = "nothing" // it does not go through outside either, which proves nothing
	Untried Outcome = "untried" // it could not be tried
)

// A Result is one check with both answers.
type Result struct {
	check.Check
	Outside check.Answer `json:"outside"`
	Inside  check.Answer `json:"inside"`
	Control string       `json:"outsideDetail"`
	Detail  string       `json:"insideDetail"`
	Outcome Outcome      `json:"outcome"`
	Reason  string       `json:"reason,omitempty"` // the profile's words, for what is granted
}

// A Report is the whole of an audit.
type Report struct {
	Results []Result        `json:"checks"`
	Counts  map[Outcome]int `json:"counts"`
	// Score is how many of the checks that say something hold: Held of Held and Failed.
	Score  int `json:"score"`
	OutOf  int `json:"outOf"`
	Checks int `json:"total"`
}

// Judge compares the two runs. promises tells why a check is meant to go through, or "": see Promises.
func Judge(outside, inside []check.Finding, promises func(check.Check) string) *Report {
	control := map[string]check.Finding{}
	for _, f := range outside {
		control[f.ID] = f
	}
	r := &Report{Counts: map[Outcome]int{}}
	for _, f := range inside {
		c := control[f.ID]
		res := Result{Check: f.Check, Outside: c.Answer, Inside: f.Answer, Control: c.Detail, Detail: f.Detail}
		switch {
		case f.Answer == check.Open:
			res.Outcome = Failed
			if res.Reason = promises(f.Check); res.Reason != "" {
				res.Outcome = Granted
			}
		case f.Answer == check.Cannot || c.Answer == check.Cannot:
			res.Outcome = Untried
			res.Reason = f.Detail
			if c.Answer == check.Cannot {
				res.Reason = c.Detail
			}
		case c.Answer == check.Open:
			res.Outcome = Held
		default:
			res.Outcome = Nothing
		}
		r.Counts[res.Outcome]++
		r.Results = append(r.Results, res)
	}
	r.Checks = len(r.Results)
	r.Score, r.OutOf = r.Counts[Held], r.Counts[Held]+r.Counts[Failed]
	return r
}
