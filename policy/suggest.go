package policy

// didYouMean gives "did you mean `x`?" for the word of words that is closest to
// s, or "" where none is close.
func didYouMean(s string, words []string) string {
	best, bestAt := "", 3
	if len(s) <= 4 {
		bestAt = 2
	}
	for _, w := range words {
		if abs(len(w)-len(s)) >= bestAt {
			continue
		}
		if n := editDistance(s, w); n < bestAt {
			best, bestAt = w, n
		}
	}
	if best == "" {
		return ""
	}
	return "did you mean `" + best + "`?"
}

func abs(n int) int {
	if n < 0 {
		return -n
	}
	return n
}

// editDistance counts the letters to put in, take out, change or swap with
// their neighbour to get from a to b (Damerau-Levenshtein, restricted).
func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	prev2 := make([]int, len(b)+1)
	prev := make([]int, len(b)+1)
	cur := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
}
