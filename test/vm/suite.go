package main

func (h home) test(releases []string) error { return nil }
