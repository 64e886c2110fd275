"""Pictures and text of the worlds. Renderers read an environment and never change it.

One language in all pictures: blue is what the agent does, orange is how the world answers, grey is the world before
any deployment.
"""
