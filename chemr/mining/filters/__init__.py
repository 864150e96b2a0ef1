"""What a synthesised trace must be like: pure functions that each give the reasons against a text, none when there is nothing to say.

An accusation has to be certain: where a filter cannot tell, it is silent.
"""
