package main

// callsOfThisProcessor are those that other processors do not have.
var callsOfThisProcessor []dangerous
